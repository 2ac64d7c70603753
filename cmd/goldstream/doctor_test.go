package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/doctor"
)

// TestDoctor looks at the host of the test: its exit code says what its findings
// say, and nothing is made.
func TestDoctor(t *testing.T) {
	h := newHouse(t)
	r := h.run("doctor", "--json")
	var got health
	require.NoError(t, json.Unmarshal([]byte(r.out), &got))
	require.Len(t, got.Findings, 12)
	require.Equal(t, doctor.Lacking(got.Findings), got.Missing)
	require.Equal(t, got.Missing > 0, r.code == exitFailure, r.err)
	table := h.run("doctor")
	for _, f := range got.Findings {
		require.Contains(t, table.out, f.Check)
		require.Contains(t, table.out, f.Cure)
	}
	require.NoDirExists(t, h.data)
}
