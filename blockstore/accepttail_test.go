package blockstore

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAcceptTail: a store that refuses to open, since commits are gone that were
// durable, opens again when that is accepted, and not before.
func TestAcceptTail(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	end := s.sequence
	finish(t, s, d)
	end = max(end, sequenceIn(t, dir))
	_, err = AcceptTail(ctx, dir, testOptions(), true)
	require.ErrorIs(t, err, ErrInvalid, "nothing is lost")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "seq"), binary.LittleEndian.AppendUint64(nil, end+5), 0o600))
	_, err = Open(dir, testOptions())
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "goldstream store accept")
	for range 2 {
		r, err := AcceptTail(ctx, dir, testOptions(), false)
		require.NoError(t, err)
		require.Equal(t, TailReport{Present: end, Durable: end + 5, Volumes: []string{"v"}}, r)
	}
	_, err = Open(dir, testOptions())
	require.ErrorIs(t, err, ErrCorrupt, "only told")
	r, err := AcceptTail(ctx, dir, testOptions(), true)
	require.NoError(t, err)
	require.True(t, r.Done)

	s = openStore(t, dir)
	d = openVolume(t, s, "v")
	require.EqualValues(t, 1, firstByte(t, d, 0))
	require.ErrorIs(t, d.CheckEpoch(0), ErrEpoch)
	require.NoError(t, d.WriteAt(ctx, block(2), 0, true))
	_, err = AcceptTail(ctx, dir, testOptions(), true)
	require.ErrorIs(t, err, ErrLocked)
	finish(t, s, d)
	s = openStore(t, dir)
	require.NoError(t, s.Close())
}

// sequenceIn returns what the witness of a closed store says.
func sequenceIn(t *testing.T, dir string) uint64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "seq"))
	require.NoError(t, err)
	return binary.LittleEndian.Uint64(b)
}
