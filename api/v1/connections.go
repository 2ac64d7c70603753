package v1

import (
	"context"
	"net/http"
	"time"
)

// ConnectionList answers GET /v1/connections: the NBD clients now, by export,
// and the exports that they have open.
type ConnectionList struct {
	Connections []Connection  `json:"connections"`
	Exports     []ExportInUse `json:"exports"`
}

// Connection is one NBD connection that serves an export.
type Connection struct {
	Export        string     `json:"export"`
	Epoch         string     `json:"epoch,omitempty"` // that the client named; "" if it named none
	Peer          string     `json:"peer"`            // address, or "unix"
	TLS           bool       `json:"tls,omitempty"`
	Since         time.Time  `json:"since"`
	ReadOnly      bool       `json:"readOnly,omitempty"`
	InFlight      int        `json:"inFlight"`      // requests read and not yet answered
	InFlightBytes int64      `json:"inFlightBytes"` // memory held for their data
	Statistics    Statistics `json:"statistics"`
}

// ExportInUse sums up an export since the first of its present clients, or of
// clients that were there together with them, has opened it.
type ExportInUse struct {
	Export      string     `json:"export"`
	Connections int        `json:"connections"`
	Statistics  Statistics `json:"statistics"`
}

// Statistics are what was done, by sort of request.
type Statistics struct {
	Reads   Operations `json:"reads"`
	Writes  Operations `json:"writes"`
	Flushes Operations `json:"flushes"`
	Others  Operations `json:"others"` // trim, zero, prefetch, block status
	Errors  int64      `json:"errors"` // error replies
	Slow    int64      `json:"slow"`   // as slow as serve's --slow-request, or slower
}

// Operations are the requests of one sort.
type Operations struct {
	Count int64 `json:"count"`
	Bytes int64 `json:"bytes"`
	// P50 and P99 are times in microseconds that half, and 99 of 100, of the
	// requests stayed under; they are rounded up to a power of two.
	P50 int64 `json:"p50us"`
	P99 int64 `json:"p99us"`
	// Latency counts the requests by time: the first number those under 2 µs,
	// each next one those under twice as much, the last one all the rest.
	// Zeroes at the end are left out.
	Latency []int64 `json:"latency"`
}

// Total returns the requests and bytes of all sorts.
func (s *Statistics) Total() (requests, bytes int64) {
	for _, o := range []*Operations{&s.Reads, &s.Writes, &s.Flushes, &s.Others} {
		requests += o.Count
	}
	return requests, s.Reads.Bytes + s.Writes.Bytes
}

func (s *server) connections(_ http.ResponseWriter, r *http.Request) (any, error) {
	l, err := s.backend.Connections(r.Context())
	l.Connections, l.Exports = orEmpty(l.Connections), orEmpty(l.Exports)
	return l, err
}

// Connections lists the NBD clients and what they did.
func (c *Client) Connections(ctx context.Context) (l ConnectionList, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/connections", nil, &l)
	return l, err
}
