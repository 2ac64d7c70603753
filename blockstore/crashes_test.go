package blockstore

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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

// TestAFailedWriteIsNotBroughtBack: what an intent and the file prove after a
// write that failed is not what was read since, nor what was trimmed.
func TestAFailedWriteIsNotBroughtBack(t *testing.T) {
	const blocks = 64
	d := newHost(1)
	o := testOptions()
	o.fs, o.bootID = simFS{d}, "boot"
	s, err := Open(crashDir, o)
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	v := openVolume(t, s, "v")
	d.inject(&simFault{ops: simWrite, below: "/layers", err: unix.ENOSPC})
	require.ErrorIs(t, v.WriteAt(ctx, bytes.Repeat(block(7), blocks), 0, false), unix.ENOSPC)
	require.True(t, isZeroLong(readAll(t, v)))
	require.NoError(t, v.Trim(ctx, 0, blocks*BlockSize, false))
	next := d.crash(false)
	s.kill()
	o.fs = simFS{next}
	s, err = Open(crashDir, o)
	require.NoError(t, err)
	v = openVolume(t, s, "v")
	require.True(t, isZeroLong(readAll(t, v)))
	finish(t, s, v)
}
