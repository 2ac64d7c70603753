package blockstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// slowMotion is a clock that only waiting moves.
type slowMotion struct {
	at     time.Time
	waited time.Duration
}

func (c *slowMotion) wait(ctx context.Context, d time.Duration) error {
	c.at, c.waited = c.at.Add(d), c.waited+d
	return cancelled(ctx)
}

func testPacer(rate int64) (*pacer, *slowMotion) {
	c := &slowMotion{at: time.Unix(1e9, 0)}
	p := newPacer(rate)
	p.now, p.wait = func() time.Time { return c.at }, c.wait
	return p, c
}

// spendFor has the background take pieces of n bytes, each of which takes the
// disk some time, until d is over; it returns how many bytes that were.
func spendFor(t *testing.T, p *pacer, c *slowMotion, n int64, each, d time.Duration) (total int64) {
	t.Helper()
	for end := c.at.Add(d); c.at.Before(end); total += n {
		require.NoError(t, p.spend(ctx, n))
		c.at = c.at.Add(each)
	}
	return total
}

// commitOf tells of a commit that ends now.
func commitOf(p *pacer, c *slowMotion, took time.Duration, written int64) {
	began := p.begin()
	c.at = c.at.Add(took)
	p.committed(began, written)
}

func TestPacerHoldsItsCeiling(t *testing.T) {
	p, c := testPacer(10 << 20)
	total := spendFor(t, p, c, 1<<20, time.Millisecond, 10*time.Second)
	require.InDelta(t, 100<<20, total, 2<<20)
	require.Greater(t, c.waited, 9*time.Second)
	require.EqualValues(t, 10<<20, p.limit())
}

func TestPacerWithoutCeilingWaitsForNobody(t *testing.T) {
	p, c := testPacer(0)
	spendFor(t, p, c, 1<<20, time.Millisecond, time.Minute)
	commitOf(p, c, 5*time.Millisecond, 4096)
	spendFor(t, p, c, 1<<20, time.Millisecond, time.Second)
	require.Zero(t, c.waited)
	require.Zero(t, p.limit())
}

// TestPacerSharesOneBudget: two that ask in turn get the ceiling together.
func TestPacerSharesOneBudget(t *testing.T) {
	p, c := testPacer(8 << 20)
	start := c.at
	for range 32 {
		require.NoError(t, p.spend(ctx, 1<<20)) // an import
		require.NoError(t, p.spend(ctx, 1<<20)) // a scrub
	}
	require.InDelta(t, 8, c.at.Sub(start).Seconds(), 0.2)
}

func TestPacerYieldsToSlowCommits(t *testing.T) {
	p, c := testPacer(0)
	require.Equal(t, time.Second/2, p.rest(time.Second))
	spendFor(t, p, c, 1<<20, 10*time.Millisecond, 3*time.Second) // 100 MiB/s
	commitOf(p, c, 200*time.Millisecond, 4096)
	require.InDelta(t, 50<<20, p.limit(), 5<<20, "half of what was taken")
	require.InDelta(t, 1, p.rest(time.Second).Seconds(), 0.01)
	commitOf(p, c, 0, 4096)
	for range 10 {
		require.NoError(t, p.spend(ctx, 1<<20))
		commitOf(p, c, 200*time.Millisecond, 4096)
	}
	require.GreaterOrEqual(t, p.limit(), int64(leastRate))
	require.Less(t, p.limit(), int64(10<<20))
	low := p.limit()
	c.at = c.at.Add(time.Second)
	require.GreaterOrEqual(t, p.limit(), low)
	c.at = c.at.Add(7 * time.Second)
	require.Zero(t, p.limit(), "no limit any more")
}

// TestPacerBlamesNobodyElse: what is slow without it, by its size, or began
// before it slowed down, is not its doing.
func TestPacerBlamesNobodyElse(t *testing.T) {
	p, c := testPacer(0)
	commitOf(p, c, time.Second, 4096) // the background was quiet
	require.Zero(t, p.limit())
	for range 20 {
		commitOf(p, c, 300*time.Millisecond, 4096) // a slow disk
	}
	spendFor(t, p, c, 1<<20, 10*time.Millisecond, time.Second)
	commitOf(p, c, 600*time.Millisecond, 4096)
	require.Zero(t, p.limit(), "less than three times as long as always")

	p, c = testPacer(0)
	spendFor(t, p, c, 1<<20, 10*time.Millisecond, time.Second)
	commitOf(p, c, 250*time.Millisecond, 32<<20)
	require.Zero(t, p.limit(), "32 MiB take that long")

	began := p.begin()
	commitOf(p, c, 200*time.Millisecond, 0)
	once := p.mu.share
	require.Equal(t, 0.5, once)
	p.committed(began, 0)
	require.GreaterOrEqual(t, p.mu.share, once, "of the same time")
}

func TestPacerEndsWithItsCaller(t *testing.T) {
	p := newPacer(1)
	require.NoError(t, p.spend(ctx, 1<<30)) // paid for by the next
	over, cancel := context.WithCancelCause(ctx)
	why := errors.New("enough")
	cancel(why)
	require.ErrorIs(t, p.spend(over, 1), why)
}

// TestImportIsPaced: the bytes that an import stores are what it asks for.
func TestImportIsPaced(t *testing.T) {
	p, c := testPacer(1 << 20)
	o := testOptions()
	o.pacer = p
	s, err := Open(t.TempDir(), o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	info := importBytes(t, s, "img", append(make([]byte, RegionSize), randomBytes(2*RegionSize)...))
	require.EqualValues(t, 2*RegionSize, info.Allocated)
	require.Equal(t, 16*time.Second, c.waited, "16 MiB at 1 MiB/s; the last piece is paid for by the next")
}
