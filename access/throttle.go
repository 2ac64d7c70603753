package access

import (
	"net/netip"
	"strings"
	"time"
)

// A failed login costs its address and its user a point each. Points go away with
// time. Who has too many waits. The user's bound is the higher one, so that one
// address does not lock others out of a user; the Unix socket knows no bound.
const (
	addressPoints = 5
	userPoints    = 50
	pointTime     = 30 * time.Second // in which one goes away
	maxCounted    = 10_000           // addresses and users; the one with least points is forgotten
)

// throttle counts failed logins. Its user locks it.
type throttle struct {
	now     func() time.Time
	counted map[string]time.Time // when the last point is gone
}

// key is an address, or of IPv6 its network: a host has all of that.
func addressKey(from netip.Addr) string {
	from = from.Unmap().WithZone("")
	if from.Is6() {
		if p, err := from.Prefix(64); err == nil {
			return "from " + p.String()
		}
	}
	return "from " + from.String()
}

func userKey(name string) string { return "user " + strings.ToLower(name) }

// wait is how long this one has to wait; 0: not at all.
func (t *throttle) wait(name string, from netip.Addr) time.Duration {
	return max(t.over(addressKey(from), addressPoints), t.over(userKey(name), userPoints))
}

func (t *throttle) over(key string, points int) time.Duration {
	gone, ok := t.counted[key]
	if !ok {
		return 0
	}
	return max(0, gone.Sub(t.now())-time.Duration(points-1)*pointTime)
}

func (t *throttle) failed(name string, from netip.Addr) {
	t.add(addressKey(from))
	t.add(userKey(name))
}

// add adds a point before the password is looked at, so that many at once count.
func (t *throttle) add(key string) {
	now := t.now()
	gone, known := t.counted[key]
	if !known && len(t.counted) >= maxCounted {
		t.forget(now)
	}
	if gone.Before(now) {
		gone = now
	}
	t.counted[key] = gone.Add(pointTime)
}

// succeeded takes the point back that add took.
func (t *throttle) succeeded(name string, from netip.Addr) {
	for _, key := range []string{addressKey(from), userKey(name)} {
		if gone, ok := t.counted[key]; ok {
			t.counted[key] = gone.Add(-pointTime)
		}
	}
}

// forget makes room: all that are over and, where none is, the nearest to it.
func (t *throttle) forget(now time.Time) {
	var least string
	for key, gone := range t.counted {
		if !gone.After(now) {
			delete(t.counted, key)
		} else if least == "" || gone.Before(t.counted[least]) {
			least = key
		}
	}
	if len(t.counted) >= maxCounted {
		delete(t.counted, least)
	}
}
