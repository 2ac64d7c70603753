package blockstore

import "sync"

// rangeLock lets one writer at a time at a range of blocks, in the order in
// which they came. Ranges that do not meet do not wait for one another.
type rangeLock struct {
	mu      sync.Mutex
	queue   []blockRange // holders and waiters, by arrival
	last    uint64       // ticket of the newest
	waiting int
	freed   sync.Cond
}

type blockRange struct {
	start, end int64
	ticket     uint64
}

func (l *rangeLock) lock(start, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	me := blockRange{start, end, l.last}
	l.queue = append(l.queue, me)
	for l.blocked(me) {
		if l.freed.L == nil {
			l.freed.L = &l.mu
		}
		l.waiting++
		l.freed.Wait()
		l.waiting--
	}
}

// blocked tells that somebody who came before wants some of the same blocks.
func (l *rangeLock) blocked(me blockRange) bool {
	for _, r := range l.queue {
		if r.ticket < me.ticket && me.start < r.end && r.start < me.end {
			return true
		}
	}
	return false
}

// unlock ends a lock of exactly this range. Of several the oldest is the
// holder.
func (l *rangeLock) unlock(start, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, r := range l.queue {
		if r.start == start && r.end == end {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			break
		}
	}
	if l.waiting > 0 {
		l.freed.Broadcast()
	}
}
