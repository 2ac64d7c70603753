package blockstore

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// logLength returns the length of the newest write-ahead log.
func logLength(t *testing.T, dir string) int64 {
	t.Helper()
	st, err := os.Stat(newestLog(t, dir))
	require.NoError(t, err)
	return st.Size()
}

// TestTheLogIsLongerThanItsRecords: a commit makes it no longer, for zeros went
// ahead; a kill loses nothing for that, and a log that was closed neither.
func TestTheLogIsLongerThanItsRecords(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *Store){
		"killed": func(_ *testing.T, s *Store) { s.kill() },
		"closed": func(t *testing.T, s *Store) { require.NoError(t, s.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			made := 0
			for range 3 {
				s := openStore(t, dir)
				list, err := s.Volumes(ctx)
				require.NoError(t, err)
				require.Len(t, list, made)
				for range 20 {
					_, err := s.CreateVolume(ctx, CloneRequest{Name: fmt.Sprint("v", made), Size: 1 << 20})
					require.NoError(t, err)
					require.EqualValues(t, logStep, logLength(t, dir))
					made++
				}
				end(t, s)
			}
		})
	}
}

// TestTheLogIsNotGrownOnAFullDisk: what is left is for what cannot wait.
func TestTheLogIsNotGrownOnAFullDisk(t *testing.T) {
	s, d, _ := fullDisk(t, -1, 0)
	require.NoError(t, s.db.Flush()) // so that there is another log
	require.NoError(t, d.Trim(ctx, 0, BlockSize, true))
	require.Less(t, logLength(t, s.dir), int64(logStep))
	finish(t, s, d)
}
