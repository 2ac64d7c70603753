package task

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testClock has a time of day that is set at will, and an uptime that only
// advance moves.
type testClock struct {
	mu     sync.Mutex
	wall   time.Time
	uptime time.Duration
	timers map[int]*timer
	last   int
}

type timer struct {
	at time.Duration
	f  func()
}

func newClock() *testClock {
	return &testClock{wall: time.Unix(1e9, 0), timers: map[int]*timer{}}
}

func (c *testClock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

func (c *testClock) Uptime() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uptime
}

func (c *testClock) After(d time.Duration, f func()) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	id := c.last
	c.timers[id] = &timer{c.uptime + d, f}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.timers, id)
	}
}

func (c *testClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	c.uptime += d
	var due []func()
	for id, t := range c.timers {
		if t.at <= c.uptime {
			due = append(due, t.f)
			delete(c.timers, id)
		}
	}
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

func TestDeadline(t *testing.T) {
	clock, g, tr := newClock(), newGate(), &trace{}
	s := newSite(t, Options{Clock: clock}, kind{Name: "k", Deadline: time.Hour, Steps: []step{tr.step("a", nil), g.step()}})
	id := s.submit(Request{Kind: "k"}).ID
	<-g.began
	clock.jump(10 * 365 * 24 * time.Hour)
	clock.advance(59 * time.Minute)
	i, err := s.engine.Get(id, 0)
	require.NoError(t, err)
	require.Equal(t, Running, i.State, "the time of day does not count")
	clock.jump(-20 * 365 * 24 * time.Hour)
	clock.advance(time.Minute)
	i = s.finished(id)
	require.Equal(t, Failed, i.State)
	require.Contains(t, i.Failure.Message, "out of time")
	require.Equal(t, []string{"do a", "undo a"}, tr.get())
}

func TestDeadlineOutlivesTheProcess(t *testing.T) {
	clock, g := newClock(), newGate()
	next := newGate()
	s := newSite(t, Options{Clock: clock}, kind{Name: "k", Deadline: time.Hour, Steps: []step{g.step(), {Name: "next", Do: next.step().Do}}})
	id := s.submit(Request{Kind: "k"}).ID
	<-g.began
	clock.advance(50 * time.Minute)
	close(g.free)
	<-next.began
	s.close()
	clock.advance(1000 * time.Hour) // the program is not running
	s.open()
	<-next.began
	i, err := s.engine.Get(id, 0)
	require.NoError(t, err)
	require.Equal(t, "10m0s", i.Left)
	require.Equal(t, Running, i.State)
	clock.advance(10 * time.Minute)
	require.Contains(t, s.finished(id).Failure.Message, "out of time")
}

func TestMachineClock(t *testing.T) {
	c := machineClock{time.Now()}
	fired := make(chan struct{})
	before := c.Uptime()
	stop := c.After(time.Nanosecond, func() { close(fired) })
	<-fired
	stop()
	require.GreaterOrEqual(t, c.Uptime(), before)
}

func TestWaitEndsWithItsContext(t *testing.T) {
	g := newGate()
	s := newSite(t, Options{}, kind{Name: "k", Steps: []step{g.step()}})
	id := s.submit(Request{Kind: "k"}).ID
	<-g.began
	i, err := s.engine.Get(id, 0)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.engine.Wait(ctx, id, i.Revision, 0)
	require.ErrorIs(t, err, context.Canceled)
	waiting := make(chan error, 1)
	engine := s.engine
	go func() { _, err := engine.Wait(context.Background(), id, i.Revision, 0); waiting <- err }()
	s.close()
	require.ErrorIs(t, <-waiting, ErrClosed)
}

// TestNoReturn: behind such a step neither cancel nor deadline has a task undone.
func TestNoReturn(t *testing.T) {
	clock, g, tr := newClock(), newGate(), &trace{}
	swap := tr.step("swap", nil)
	swap.NoReturn = true
	s := newSite(t, Options{Clock: clock}, kind{Name: "k", Deadline: time.Hour, AtCrash: RollBack, Steps: []step{swap, g.step()}})
	id := s.submit(Request{Kind: "k"}).ID
	<-g.began
	_, err := s.engine.Cancel(id)
	require.ErrorIs(t, err, ErrBusy)
	clock.advance(2 * time.Hour)
	s.close()
	s.open() // goes on, with no time left
	<-g.began
	_, err = s.engine.Cancel(id)
	require.ErrorIs(t, err, ErrBusy)
	close(g.free)
	require.Equal(t, Completed, s.finished(id).State)
	require.Equal(t, []string{"do swap"}, tr.get())
}
