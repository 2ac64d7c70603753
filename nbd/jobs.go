package nbd

import "sync"

// job is a request for a worker, with its payload or the room for its reply.
type job struct {
	request
	cost int64   // bytes reserved for it
	buf  *buffer // WRITE: payload; READ: room for header and data; else nil
}

// jobQueue is the line of a connection's jobs before its workers. Workers
// come when there is work and go when there is none: an idle connection has
// only its reader.
type jobQueue struct {
	maxWorkers int

	mu struct {
		sync.Mutex
		ring    []job // as many as requests may be in flight: never full
		head, n int
		workers int
	}
}

func (q *jobQueue) init(capacity, workers int) {
	q.maxWorkers = workers
	q.mu.ring = make([]job, capacity)
}

// push queues j and reports whether the caller shall start a worker.
func (q *jobQueue) push(j job) (start bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.ring[(q.mu.head+q.mu.n)%len(q.mu.ring)] = j
	q.mu.n++
	if q.mu.workers == q.maxWorkers {
		return false
	}
	q.mu.workers++
	return true
}

// pop fills j with the oldest job. With false there was none, and the calling
// worker is no longer counted and must end.
func (q *jobQueue) pop(j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.n == 0 {
		q.mu.workers--
		return false
	}
	at := &q.mu.ring[q.mu.head]
	*j, *at = *at, job{}
	q.mu.head = (q.mu.head + 1) % len(q.mu.ring)
	q.mu.n--
	return true
}
