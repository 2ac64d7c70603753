package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProbeIsTold: what the jail lacks goes to the log, a whole one does not.
func TestProbeIsTold(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	logProbe(log, nil, nil)
	require.Empty(t, out.String())
	logProbe(log, []string{"own host id"}, nil)
	require.Contains(t, out.String(), "level=WARN")
	require.Contains(t, out.String(), "own host id")
	logProbe(log, nil, errors.New("no namespaces"))
	require.Contains(t, out.String(), "no namespaces")
}

// TestProbe makes the jail.
func TestProbe(t *testing.T) {
	_, err := probe(t.Context())
	require.NoError(t, err)
	assertClean(t)
}
