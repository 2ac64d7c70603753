package v1

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestErrorsSurviveTheWire sends each cause over and finds it again.
func TestErrorsSurviveTheWire(t *testing.T) {
	for _, c := range causes() {
		if c.is == nil {
			continue
		}
		sent := ErrorOf(fmt.Errorf("the disk: %w", c.is))
		require.Equal(t, c.code, sent.Code, "%v", c.is)
		require.Equal(t, c.status, sent.Status(), c.code)
		p, err := json.Marshal(sent)
		require.NoError(t, err)
		got := new(Error)
		require.NoError(t, json.Unmarshal(p, got))
		require.Equal(t, sent.Error(), got.Error())
		require.NotNil(t, errors.Unwrap(got))
		require.Equal(t, c.code, ErrorOf(fmt.Errorf("again: %w", errors.Unwrap(got))).Code)
	}
	require.Equal(t, CodeInternal, ErrorOf(errors.New("else")).Code)
	require.Equal(t, 500, (&Error{Code: "from a later version"}).Status())
}
