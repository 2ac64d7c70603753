package nbd

import (
	"sync"
	"time"
)

// job is a request for a worker, with its payload or the room for its reply.
type job struct {
	request
	cost int64         // bytes reserved for it
	at   time.Duration // when it was here, by Server.clock
	buf  *buffer       // WRITE: payload; READ: room for header and data; else nil
}

// jobQueue is the line of a connection's jobs before its workers. Workers
// come when there is work and go when there is none: an idle connection has
// only its reader.
//
// At most one worker at a time is on its way: started, but not yet run by the
// scheduler. Only when it takes its first job and finds more behind it does
// it have the next one started. So jobs that are quick are done by as many
// workers as there are idle processors, without a goroutine each, and jobs
// that wait for a disk soon have all the workers they may have.
type jobQueue struct {
	maxWorkers int

	mu struct {
		sync.Mutex
		ring     []job // grows to what was ever in line at once
		head, n  int
		workers  int
		starting bool // one of workers has not called pop yet
	}
}

func (q *jobQueue) init(workers int) { q.maxWorkers = workers }

// push queues j and reports whether the caller shall start a worker.
func (q *jobQueue) push(j job) (start bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.n == len(q.mu.ring) {
		q.growLocked()
	}
	q.mu.ring[(q.mu.head+q.mu.n)%len(q.mu.ring)] = j
	q.mu.n++
	return q.startLocked()
}

// growLocked doubles the ring. The requests in flight are limited, and so is it.
func (q *jobQueue) growLocked() {
	ring := make([]job, max(4, 2*len(q.mu.ring)))
	n := copy(ring, q.mu.ring[q.mu.head:])
	copy(ring[n:], q.mu.ring[:q.mu.head])
	q.mu.ring, q.mu.head = ring, 0
}

func (q *jobQueue) startLocked() bool {
	if q.mu.n == 0 || q.mu.starting || q.mu.workers >= q.maxWorkers {
		return false
	}
	q.mu.workers++
	q.mu.starting = true
	return true
}

// pop fills j with the oldest job; first says that it is the worker's first
// call. Without ok there was no job, and the worker is no longer counted and
// must end. With start it shall start another one.
func (q *jobQueue) pop(j *job, first bool) (ok, start bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if first {
		q.mu.starting = false
	}
	if q.mu.n == 0 {
		q.mu.workers--
		return false, false
	}
	at := &q.mu.ring[q.mu.head]
	*j, *at = *at, job{}
	q.mu.head = (q.mu.head + 1) % len(q.mu.ring)
	q.mu.n--
	return true, q.startLocked()
}

// lend says that a worker waits for long and does not count meanwhile. It
// reports whether the caller shall start another one.
func (q *jobQueue) lend() (start bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.workers--
	return q.startLocked()
}

// takeBack ends lend. There may be more workers than allowed for a while.
func (q *jobQueue) takeBack() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.workers++
}

// waiting reports whether there are jobs that no worker has.
func (q *jobQueue) waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.n > 0
}
