package v1

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What the rights are is in a table of daemon's TestRights.
func TestEveryRouteHasItsRight(t *testing.T) {
	served := map[string]bool{}
	for _, r := range Routes() {
		require.True(t, r.Known, "%s has no row in rights.go, and only infrastructure administrators may use it", r.Pattern)
		require.False(t, served[r.Pattern])
		served[r.Pattern] = true
	}
	for p := range rights() {
		require.True(t, served[p], "rights.go has a row for %s, which is not served", p)
	}
}
