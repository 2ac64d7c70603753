package blockstore

import "sync"

// rangeLock lets one writer at a time at a range of blocks. Ranges that do not
// meet do not wait for one another.
type rangeLock struct {
	mu      sync.Mutex
	held    []blockRange
	waiting int
	freed   sync.Cond
}

type blockRange struct{ start, end int64 }

func (l *rangeLock) lock(start, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.meets(start, end) {
		if l.freed.L == nil {
			l.freed.L = &l.mu
		}
		l.waiting++
		l.freed.Wait()
		l.waiting--
	}
	l.held = append(l.held, blockRange{start, end})
}

func (l *rangeLock) meets(start, end int64) bool {
	for _, r := range l.held {
		if start < r.end && r.start < end {
			return true
		}
	}
	return false
}

func (l *rangeLock) unlock(start, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, r := range l.held {
		if r == (blockRange{start, end}) {
			last := len(l.held) - 1
			l.held[i] = l.held[last]
			l.held = l.held[:last]
			break
		}
	}
	if l.waiting > 0 {
		l.freed.Broadcast()
	}
}
