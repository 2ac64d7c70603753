package attach

import "time"

// How long the kernel waits for an answer before it takes a connection for
// dead. Two things ask for different times:
//
//   - a server that died and is back: what was on the way to it is sent again
//     only when this time is over, on whatever connection. So it is short.
//   - a server that is there, and late: too much to do, or writes that wait
//     until its disk has room. A new connection makes it no faster, and
//     everything that waits is sent once more. So it is long.
//
// Which of them it was shows when the keeper reconnects: a server that lets it in
// at once was there. Then the time doubles, up to mostPatience, and is the
// short one again when the server was away, or when nothing died for a while.

const (
	// mostPatience is less than the minute that the server's first writes wait
	// on a full disk (serve --full-stall): so they are sent again and go on
	// waiting, and do not become errors of a file system.
	mostPatience = 45 * time.Second
	// calmAfter is how long nothing may die until the time is short again.
	calmAfter = 10 * time.Minute
)

// patience is that time, for one device.
type patience struct {
	base time.Duration // as configured; 0 is the kernel's own
	now  time.Duration
	last time.Time // when a connection died
	grew time.Time // when now was last doubled
}

func newPatience(base time.Duration) *patience { return &patience{base: base, now: base} }

// died notes that connections died, and whether the server was there all the
// while. It reports whether the time became longer. The connections of one
// device die one after the other: they count once.
func (p *patience) died(at time.Time, there bool) (longer bool) {
	p.last = at
	if !there {
		p.now = p.base
		return false
	}
	if p.base == 0 || p.now >= mostPatience || !p.grew.IsZero() && at.Sub(p.grew) < p.now/2 {
		return false
	}
	p.now, p.grew = min(2*p.now, mostPatience), at
	return true
}

// calm reports whether the time shall be the short one again, which it then is.
func (p *patience) calm(at time.Time) bool {
	if p.now == p.base || at.Sub(p.last) < calmAfter {
		return false
	}
	p.now = p.base
	return true
}
