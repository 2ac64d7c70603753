package v1

import (
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"sync"
	"time"
)

// requestBuckets is how many stretches of time requests are counted in: the first is
// under 2 µs, each next one twice as long, the last one all the rest.
const requestBuckets = 28

// Requests counts the requests of one or more servers, for /metrics. The zero value
// works, and a nil one counts nothing.
type Requests struct {
	mu struct {
		sync.Mutex
		counts  map[requestSort]int64
		latency [requestBuckets]int64
		seconds float64
	}
}

// requestSort is what requests are told apart by: there are no more than routes times
// statuses.
type requestSort struct {
	route  string
	status int
}

func (q *Requests) count(route string, status int, took time.Duration) {
	if q == nil {
		return
	}
	bucket := min(max(bits.Len64(uint64(max(took.Microseconds(), 0)))-1, 0), requestBuckets-1)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.counts == nil {
		q.mu.counts = map[requestSort]int64{}
	}
	q.mu.counts[requestSort{route, status}]++
	q.mu.latency[bucket]++
	q.mu.seconds += took.Seconds()
}

// requests writes the counts of the API.
func (m *metricsWriter) requests(q *Requests) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	sorts := slices.SortedFunc(maps.Keys(q.mu.counts), func(a, b requestSort) int {
		if a.route != b.route {
			if a.route < b.route {
				return -1
			}
			return 1
		}
		return a.status - b.status
	})
	m.head("api_requests_total", "counter", "Requests of the API, by route and HTTP status.")
	total := int64(0)
	for _, k := range sorts {
		n := q.mu.counts[k]
		total += n
		m.line("api_requests_total", `route="`+labelEscapes.Replace(k.route)+`",status="`+strconv.Itoa(k.status)+`"`, float64(n))
	}
	m.head("api_request_seconds", "histogram", "Requests of the API, watches and uploads too.")
	m.buckets("api_request_seconds", "", q.mu.latency[:], requestBuckets, total)
	m.line("api_request_seconds_sum", "", q.mu.seconds)
	m.line("api_request_seconds_count", "", float64(total))
}
