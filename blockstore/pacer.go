package blockstore

import (
	"context"
	"math"
	"sync"
	"time"
)

// pacer is the one budget of all I/O in the background: imports, checksums,
// scrubs, and what the reclaimer frees. Background I/O asks before it reads or
// writes; commits of volumes tell how long they took. One that took much
// longer than commits do while the background is quiet halves what the
// background may take; it doubles again with every second in which none does.
//
// share is that state. At 1 only the ceiling holds. Below it the rate is a
// share of what was being taken when it began to hurt.
type pacer struct {
	ceiling float64 // bytes a second; 0: none
	now     func() time.Time
	wait    func(ctx context.Context, d time.Duration) error

	mu struct {
		sync.Mutex
		share float64
		at    time.Time // share is as of then
		peak  float64   // bytes a second that share is a share of
		next  time.Time // when what was let through is paid for
		last  time.Time // when something was let through last
		quiet float64   // seconds of a commit without I/O in the background
		slow  time.Time // when a commit was too slow last
		recent
	}
}

const (
	leastShare = 1.0 / 64
	// leastRate is what the background always gets, in bytes a second, so that
	// it comes to an end beside volumes that are slow by themselves.
	leastRate = 4 << 20
	// slowCommit is what no commit is called slow below, and slowTimes how many
	// times longer than in quiet a slow one takes. Written data is allowed
	// commitRate bytes a second.
	slowCommit  = 20 * time.Millisecond
	slowTimes   = 3
	commitRate  = 128 << 20
	longestRest = time.Second
	// quietAfter is how long the disk may be busy with what was let through last.
	quietAfter = time.Second
)

func newPacer(ceiling int64) *pacer {
	p := &pacer{ceiling: float64(max(ceiling, 0)), now: time.Now, wait: sleep}
	p.mu.share = 1
	return p
}

// sleep waits, but not beyond the end of a context.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// spend waits until n bytes may be read or written. What others were let
// through is paid for first, in the order in which they asked.
func (p *pacer) spend(ctx context.Context, n int64) error {
	p.mu.Lock()
	now := p.now()
	p.growLocked(now)
	start := now
	if p.mu.next.After(now) {
		start = p.mu.next
	}
	p.mu.next = start
	if rate := p.rateLocked(); rate > 0 {
		p.mu.next = start.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	}
	p.mu.last = start
	p.mu.add(now, n)
	p.mu.Unlock()
	if start == now {
		return cancelled(ctx)
	}
	return p.wait(ctx, start.Sub(now))
}

// rest is how long work that moves no data (punching holes) rests after a step
// that took so long: half of that, and more where it hurts, but no more than
// longestRest longer than the step. What a neighbour waits at worst is a step,
// however long the rests are; they keep it from waiting each time.
func (p *pacer) rest(took time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	p.growLocked(now)
	p.mu.last = now
	return min(time.Duration(float64(took)/2/p.mu.share), took+longestRest)
}

// limit returns how many bytes a second the background may take now; 0: no limit.
func (p *pacer) limit() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.growLocked(p.now())
	return int64(p.rateLocked())
}

func (p *pacer) rateLocked() float64 {
	if p.mu.share == 1 {
		return p.ceiling
	}
	rate := max(p.mu.peak*p.mu.share, leastRate)
	if p.ceiling > 0 {
		rate = min(rate, p.ceiling)
	}
	return rate
}

// growLocked gives back what commits no longer ask for.
func (p *pacer) growLocked(now time.Time) {
	if p.mu.share < 1 && now.After(p.mu.at) {
		p.mu.share = min(1, p.mu.share*math.Exp2(now.Sub(p.mu.at).Seconds()))
	}
	p.mu.at = now
}

// begin notes the begin of a commit of a volume, for committed.
func (p *pacer) begin() time.Time { return p.now() }

// committed takes how long a commit of a volume took that wrote so many bytes.
func (p *pacer) committed(began time.Time, written int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	took := max(0, now.Sub(began).Seconds()-float64(written)/commitRate)
	if p.mu.last.IsZero() || began.Sub(p.mu.last) > quietAfter {
		if p.mu.quiet == 0 {
			p.mu.quiet = took
		}
		p.mu.quiet += (took - p.mu.quiet) / 8
		return
	}
	// One that began before the background slowed down says nothing new.
	if took <= max(slowCommit.Seconds(), slowTimes*p.mu.quiet) || began.Before(p.mu.slow) {
		return
	}
	p.growLocked(now)
	if p.mu.share == 1 {
		p.mu.peak = p.mu.perSecond(now)
	}
	p.mu.share = max(p.mu.share/2, leastShare)
	p.mu.slow = now
}

// recent counts what was let through, second by second.
type recent struct {
	began        time.Time
	bytes        int64
	lastSecond   float64
	lastSecondAt time.Time
}

func (r *recent) add(now time.Time, n int64) {
	if passed := now.Sub(r.began); passed >= time.Second {
		r.lastSecond, r.lastSecondAt = float64(r.bytes)/passed.Seconds(), now
		r.began, r.bytes = now, 0
	}
	r.bytes += n
}

// perSecond is the rate of this second or of the one before, whichever is more.
func (r *recent) perSecond(now time.Time) float64 {
	rate := float64(r.bytes) / max(now.Sub(r.began), 100*time.Millisecond).Seconds()
	if now.Sub(r.lastSecondAt) < 2*time.Second {
		rate = max(rate, r.lastSecond)
	}
	return rate
}
