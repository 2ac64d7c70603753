package blockstore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestARemovalThatComesBack: a power loss right after a volume is reclaimed
// leaves no file that no record names.
func TestARemovalThatComesBack(t *testing.T) {
	d := newHost(1)
	o := testOptions()
	o.fs = simFS{d}
	s, err := Open(crashDir, o)
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	v := openVolume(t, s, "v")
	require.NoError(t, v.WriteAt(ctx, block(1), 0, true))
	require.NoError(t, v.Close())
	require.NoError(t, s.DeleteVolume(ctx, "v", ""))
	require.Eventually(t, func() bool {
		s.cat.mu.Lock()
		defer s.cat.mu.Unlock()
		return len(s.cat.mu.lineages) == 0
	}, waitLong, waitTick)
	branches(d, true, func(next simFS) {
		for _, dir := range []string{"/layers", "/rings"} {
			names, err := next.List(crashDir + dir)
			require.NoError(t, err)
			require.Empty(t, names)
		}
	})
	require.NoError(t, s.Close())
}
