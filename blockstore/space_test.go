package blockstore

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lockedBuffer takes a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestLimitsScaleWithTheDisk: a small disk stays usable.
func TestLimitsScaleWithTheDisk(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct{ total, reserve, floor, ballast int64 }{
		{1 * gib, 64 * mib, gib / 100 * 10, 32 * mib},
		{8 * gib, 512 * mib, 8 * gib / 100 * 10, 256 * mib},
		{32 * gib, 2 * gib, 32 * gib / 100 * 10, 256 * mib},
		{100 * gib, 2 * gib, 100 * gib / 100 * 10, 256 * mib},
		{1000 * gib, 20 * gib, 1000 * gib / 100 * 10, 256 * mib},
	} {
		o := Options{}.withDefaults()
		s := newSpace(osFS{}, "/", &o)
		l := s.limits(c.total)
		require.Equal(t, c.reserve, l.reserve, "of %d", c.total)
		require.Equal(t, c.floor, l.floor, "of %d", c.total)
		require.Equal(t, c.ballast, s.ballastSize(c.total), "of %d", c.total)
	}
}

// TestWatermarks: each state is told once, what makes new things is refused
// below the floor, and everything else is not.
func TestWatermarks(t *testing.T) {
	const gib = 1 << 30
	var log lockedBuffer
	fs := newDiskFS(500*gib, 1000*gib)
	o := testOptions()
	o.fs, o.Reserve, o.Watermark, o.FullStall = fs, 0, 0, time.Hour
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s, err := Open(t.TempDir(), o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	importBytes(t, s, "img", pattern(1, 1<<20))
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Image: "img", Size: 2000 * gib, RequestID: "1"})
	require.NoError(t, err)
	info, err := s.Space(ctx)
	require.NoError(t, err)
	require.Equal(t, SpaceOK, info.State)
	require.EqualValues(t, 20*gib, info.Reserve)
	require.InDelta(t, 2, info.Overcommit, 0.01)
	require.NotZero(t, info.Allocated)
	require.NotZero(t, info.Metadata)

	set := func(free int64, state string, told int, word string) {
		t.Helper()
		fs.free.Store(free)
		s.space.look()
		info, err := s.Space(ctx)
		require.NoError(t, err)
		require.Equal(t, state, info.State)
		require.Equal(t, told, strings.Count(log.String(), word), "%s", log.String())
	}
	set(90*gib, SpaceLow, 1, "space: low")
	set(91*gib, SpaceLow, 1, "space: low")
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "w", Image: "img"})
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, "91 GiB free of 1000 GiB")
	_, err = s.ImportImage(ctx, &memorySource{data: block(1)}, ImportRequest{Name: "x"})
	require.ErrorIs(t, err, ErrNoSpace)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Image: "img", Size: 2000 * gib, RequestID: "1"})
	require.NoError(t, err, "done before")
	d := openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false), "volumes go on to the reserve")
	_, err = s.CaptureImage(ctx, "v", ImportRequest{Name: "c"})
	require.NoError(t, err, "takes no space")

	set(20*gib, SpaceFull, 1, "space: full")
	set(20*gib, SpaceFull, 1, "space: full")
	set(101*gib, SpaceOK, 0, "enough again") // too little to tell
	set(200*gib, SpaceOK, 1, "enough again")
	finish(t, s, d)
}

// TestARunningImportStopsAtTheFloor: and the room that it took comes back.
func TestARunningImportStopsAtTheFloor(t *testing.T) {
	fs := newDiskFS(200<<20, 1<<30)
	o := hookedOptions(nil)
	o.fs, o.Reserve = fs, 100<<20
	dir := t.TempDir()
	s, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	_, err = s.ImportImage(ctx, &memorySource{data: bytes.Repeat(randomBytes(1<<20), 64)}, ImportRequest{Name: "x"})
	require.ErrorIs(t, err, ErrNoSpace)
	requireNoLayers(t, s, dir)
	require.GreaterOrEqual(t, fs.least.Load(), int64(150<<20))
	require.Zero(t, s.space.outstanding.Load())
	require.NoError(t, s.Close())
}
