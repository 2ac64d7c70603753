package blockstore

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAFlippedBitOfTheLogIsFound: in the write-ahead log of the metadata, as a
// kill leaves it. A commit that was durable is never lost in silence: a check
// and an open say so, or nothing is lost. What reads only goes as far as it can.
func TestAFlippedBitOfTheLogIsFound(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	importBytes(t, s, "img", randomBytes(1<<20))
	for i := range 40 {
		_, err := s.CreateVolume(ctx, CloneRequest{Name: string(rune('a'+i/26)) + string(rune('a'+i%26)), Image: "img"})
		require.NoError(t, err)
	}
	s.kill()
	log := newestLog(t, dir)
	good, err := os.ReadFile(log)
	require.NoError(t, err)
	end := len(bytes.TrimRight(good, "\x00"))
	require.Greater(t, end, 4<<10)
	found := 0
	for at := 20; at < end; at += end / 24 {
		copied := filepath.Join(t.TempDir(), "copy")
		copyMetadata(t, dir, copied)
		bad := bytes.Clone(good)
		bad[at] ^= 0x04
		require.NoError(t, os.WriteFile(filepath.Join(copied, "meta", filepath.Base(log)), bad, 0o600))
		r, err := CheckStore(ctx, copied, testOptions())
		require.NoError(t, err)
		if metadataDamage(r) {
			found++
			_, err = Open(copied, testOptions())
			require.ErrorIs(t, err, ErrCorrupt, "at %d", at)
			continue
		}
		s := openStore(t, copied)
		volumes, err := s.Volumes(ctx)
		require.NoError(t, err)
		require.Len(t, volumes, 40, "lost in silence by a bit at %d", at)
		require.NoError(t, s.Close())
	}
	require.Greater(t, found, 12)
}

func metadataDamage(r CheckReport) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Severity == SeverityDamage && slices.Contains([]string{FindMetadata, FindLostTail, FindRecord, FindDangling}, f.Kind)
	})
}

// copyMetadata makes a store of the metadata of another one, without its data.
func copyMetadata(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, os.CopyFS(filepath.Join(to, "meta"), os.DirFS(filepath.Join(from, "meta"))))
	for _, name := range []string{"FORMAT", "id", "seq"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, name), b, 0o600))
	}
}

func newestLog(t *testing.T, dir string) string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "meta", "*.log"))
	require.NoError(t, err)
	require.NotEmpty(t, logs)
	return slices.Max(logs)
}
