package nbd

import (
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// What the server counts. Each connection has counters of its own, which the
// goroutines that work for it add to without locks; a snapshot adds up those of
// an export, and what its connections that have closed left behind.
//
// Latency is the server's part: from when the request was read off the socket
// (a WRITE: with its data) to when its reply is queued. READs that the reader
// answers in one go were read in one go, and are timed together: one pair of
// clock readings for up to eight of them.

// LatencyBuckets is the number of buckets of a Latency.
const LatencyBuckets = 24

// Latency counts requests by how long they took: Latency[0] those under 2 µs,
// Latency[i] those from 2^i to under 2^(i+1) µs, and the last one all longer
// ones.
type Latency [LatencyBuckets]int64

// Count returns how many requests were counted.
func (l *Latency) Count() (n int64) {
	for _, v := range l {
		n += v
	}
	return n
}

// Quantile returns a time that at least the part q of the requests, between 0
// and 1, stayed under: the upper bound of a bucket, so up to twice too much. It
// is 0 where nothing was counted.
func (l *Latency) Quantile(q float64) time.Duration {
	want, seen := q*float64(l.Count()), int64(0)
	for i, v := range l {
		if seen += v; v > 0 && float64(seen) >= want {
			return time.Microsecond << (i + 1)
		}
	}
	return 0
}

// Operations are the requests of one sort that reached the disk and came back.
type Operations struct {
	Count   int64 // those that failed among them
	Bytes   int64 // lengths of those that succeeded
	Latency Latency
}

// Statistics are what was done for a connection, or for all of an export.
type Statistics struct {
	Reads   Operations
	Writes  Operations // WRITE
	Flushes Operations
	Others  Operations // TRIM, WRITE_ZEROES, CACHE and BLOCK_STATUS
	Errors  int64      // error replies, those among them that refused a request before the disk
	Slow    int64      // took as long as Options.SlowRequest or longer
}

// add adds what o counts.
func (s *Statistics) add(o *Statistics) {
	to, from := s.sorts(), o.sorts()
	for i := range to {
		to[i].Count += from[i].Count
		to[i].Bytes += from[i].Bytes
		for b := range to[i].Latency {
			to[i].Latency[b] += from[i].Latency[b]
		}
	}
	s.Errors += o.Errors
	s.Slow += o.Slow
}

// sorts returns the operations in the order of the sort… constants.
func (s *Statistics) sorts() [sortCount]*Operations {
	return [sortCount]*Operations{&s.Reads, &s.Writes, &s.Flushes, &s.Others}
}

// ConnectionInfo describes a connection that serves an export.
type ConnectionInfo struct {
	Export   string
	Peer     string // address, or "unix"
	Since    time.Time
	ReadOnly bool
	TLS      bool

	InFlight      int   // requests read and not yet answered
	InFlightBytes int64 // memory held for their data
	Statistics    Statistics
}

// ExportStatistics are those of an export that somebody has open. They begin
// anew when all clients have left it.
type ExportStatistics struct {
	Export      string // the disk, where it has several names (Options.DiskOf)
	Connections int
	Statistics  Statistics // of connections that have closed, too
}

const (
	sortRead = iota
	sortWrite
	sortFlush
	sortOther
	sortCount
)

// sortOf returns which operations a command belongs to.
func sortOf(kind uint16) int {
	switch kind {
	case cmdRead:
		return sortRead
	case cmdWrite:
		return sortWrite
	case cmdFlush:
		return sortFlush
	}
	return sortOther
}

// counters is Statistics in the making.
type counters struct {
	sorts [sortCount]struct {
		bytes   atomic.Int64
		latency [LatencyBuckets]atomic.Int64
	}
	errors, slow atomic.Int64
}

// took counts n requests of a sort with bytes in all that took this long each.
func (k *counters) took(sort int, n, bytes int64, took time.Duration) {
	s := &k.sorts[sort]
	s.latency[bucketOf(took)].Add(n)
	if bytes > 0 {
		s.bytes.Add(bytes)
	}
}

func bucketOf(took time.Duration) int {
	us := uint64(max(0, took)) / uint64(time.Microsecond)
	return min(max(0, bits.Len64(us)-1), LatencyBuckets-1)
}

// requests returns how many were counted.
func (k *counters) requests() int64 {
	s := k.snapshot()
	return s.Reads.Count + s.Writes.Count + s.Flushes.Count + s.Others.Count
}

func (k *counters) snapshot() (s Statistics) {
	for i, o := range s.sorts() {
		from := &k.sorts[i]
		for b := range o.Latency {
			o.Latency[b] = from.latency[b].Load()
		}
		o.Count, o.Bytes = o.Latency.Count(), from.bytes.Load()
	}
	s.Errors, s.Slow = k.errors.Load(), k.slow.Load()
	return s
}

// served is when a connection began to serve what.
type served struct {
	export    string
	since     time.Time
	readOnly  bool
	encrypted bool
}

// info describes the connection, if it serves an export.
func (c *conn) info() (ConnectionInfo, bool) {
	v := c.serves.Load()
	if v == nil {
		return ConnectionInfo{}, false
	}
	return ConnectionInfo{
		Export: v.export, Peer: c.remote, Since: v.since, ReadOnly: v.readOnly, TLS: v.encrypted,
		InFlight: c.replies.inFlight(), InFlightBytes: c.account.holds(),
		Statistics: c.counters.snapshot(),
	}, true
}

// Connections describes the connections that serve an export, by export, then
// the oldest first.
func (s *Server) Connections() []ConnectionInfo {
	var list []ConnectionInfo
	for _, c := range s.all() {
		if i, ok := c.info(); ok {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b ConnectionInfo) int {
		if n := strings.Compare(a.Export, b.Export); n != 0 {
			return n
		}
		return a.Since.Compare(b.Since)
	})
	return list
}

// Exports sums up the exports that clients have open, by name.
func (s *Server) Exports() []ExportStatistics {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := make(map[string]*ExportStatistics, len(s.mu.inUse))
	for name, u := range s.mu.inUse {
		of[name] = &ExportStatistics{Export: name, Statistics: u.past}
	}
	for c, name := range s.mu.conns {
		// While it is in conns under a name, what it counts is not in past.
		if e := of[name]; e != nil && c.serves.Load() != nil {
			k := c.counters.snapshot()
			e.Statistics.add(&k)
			e.Connections++
		}
	}
	list := make([]ExportStatistics, 0, len(of))
	for _, e := range of {
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b ExportStatistics) int { return strings.Compare(a.Export, b.Export) })
	return list
}

// all returns the open connections.
func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	return conns
}
