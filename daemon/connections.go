package daemon

import (
	"context"
	"strings"
	"time"

	"goldstream/api/v1"
	"goldstream/nbd"
)

// Connections lists the NBD clients and what they did; without an NBD server
// there are none.
func (b *backend) Connections(context.Context) (l v1.ConnectionList, err error) {
	if b.clients == nil {
		return l, nil
	}
	for _, c := range b.clients.Connections() {
		export, epoch, _ := strings.Cut(c.Export, epochMark)
		l.Connections = append(l.Connections, v1.Connection{
			Export: export, Epoch: epoch, Peer: c.Peer, TLS: c.TLS, Since: c.Since, ReadOnly: c.ReadOnly,
			InFlight: c.InFlight, InFlightBytes: c.InFlightBytes, Statistics: statistics(&c.Statistics),
		})
	}
	for _, e := range b.clients.Exports() {
		l.Exports = append(l.Exports, v1.ExportInUse{
			Export: e.Export, Connections: e.Connections, Statistics: statistics(&e.Statistics),
		})
	}
	return l, nil
}

func statistics(s *nbd.Statistics) v1.Statistics {
	return v1.Statistics{
		Reads: operations(&s.Reads), Writes: operations(&s.Writes),
		Flushes: operations(&s.Flushes), Others: operations(&s.Others),
		Errors: s.Errors, Slow: s.Slow,
	}
}

func operations(o *nbd.Operations) v1.Operations {
	used := len(o.Latency)
	for used > 0 && o.Latency[used-1] == 0 {
		used--
	}
	us := func(d time.Duration) int64 { return d.Microseconds() }
	return v1.Operations{
		Count: o.Count, Bytes: o.Bytes, P50: us(o.Latency.Quantile(0.5)), P99: us(o.Latency.Quantile(0.99)),
		Latency: append([]int64{}, o.Latency[:used]...),
	}
}
