package blockstore

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestOpenFilesFollowTheLimit: the default leaves descriptors for others.
func TestOpenFilesFollowTheLimit(t *testing.T) {
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before)) }()
	for _, c := range []struct{ limit, want uint64 }{{1000, 250}, {1 << 20, 8192}} {
		if c.limit > before.Max {
			continue // not ours to raise
		}
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: c.limit, Max: before.Max}))
		require.EqualValues(t, c.want, Options{}.withDefaults().OpenFiles)
	}
	require.Equal(t, 7, Options{OpenFiles: 7}.withDefaults().OpenFiles)
}
