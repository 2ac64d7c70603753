package blockstore

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A server that has stopped must be back before its clients give up, however
// many volumes there are: to open a store reads the metadata alone. What a
// volume has in files is looked at when it is opened.
func TestOpenLooksAtNoVolume(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	importBytes(t, s, "base", pattern(3, 1<<20))
	for i := range 20 {
		name := fmt.Sprint("v", i)
		_, err := s.CreateVolume(ctx, CloneRequest{Name: name, Image: "base"})
		require.NoError(t, err)
		d := openVolume(t, s, name)
		require.NoError(t, d.WriteAt(ctx, make([]byte, 3*BlockSize), 0, i%2 == 0))
		_, err = s.CreateSnapshot(ctx, name, SnapshotRequest{Name: "one"})
		require.NoError(t, err)
		require.NoError(t, d.WriteAt(ctx, make([]byte, BlockSize), 0, false))
		require.NoError(t, d.Close())
	}
	require.NoError(t, s.Close())

	var mu sync.Mutex
	opening, all := true, 0
	var touched []string
	fs := &faultyFS{}
	fs.set(func(op, path string) error {
		mu.Lock()
		defer mu.Unlock()
		if !opening {
			return nil
		}
		all++
		for _, held := range []string{"layers", "rings"} {
			if strings.HasPrefix(path, filepath.Join(dir, held)+"/") {
				touched = append(touched, op+" "+path)
			}
		}
		return nil
	})
	s, err := Open(dir, Options{fs: fs})
	require.NoError(t, err)
	mu.Lock()
	opening = false
	mu.Unlock()
	require.Empty(t, touched)
	require.Positive(t, all, "the hook was asked")
	d := openVolume(t, s, "v7")
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())
}
