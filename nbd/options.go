package nbd

import (
	"context"
	"log/slog"
	"time"
)

// Options tune a Server. The zero value works: each zero field means its
// default.
type Options struct {
	// Logger gets opened and closed connections (info), handshakes that came
	// to nothing (debug), and the causes of failures (warn; of those that
	// clients can bring about no more than ten in a second). Default: nothing
	// is logged.
	Logger *slog.Logger

	// MaxConnections bounds the open connections; more are closed at once,
	// before the greeting. Default 4096. An idle connection costs about 8 KiB.
	MaxConnections int

	// MaxHandshakes bounds those of them that are still in the handshake, so
	// that clients which never get past it keep out no others for good. Default
	// half of MaxConnections.
	MaxHandshakes int

	// MaxPerAddress bounds those from one IP address. Peers on a Unix socket do
	// not count. Default a quarter of MaxConnections.
	MaxPerAddress int

	// MaxPerExport bounds those that have one export open, unless they cannot
	// write to it: a server that attaches its disk again and again, and leaves
	// the old connections behind, must not take what others need. Default 256.
	MaxPerExport int

	// MaxInFlight bounds the requests of one connection that were read and
	// not yet answered. Default 128.
	MaxInFlight int

	// MaxInFlightBytes bounds the memory for READ and WRITE data, in bytes, held
	// for one connection: for each request the next power of two. A single larger request still passes. Default 32 MiB.
	MaxInFlightBytes int64

	// MaxBytes bounds that memory, in bytes, for all connections together. A connection that holds nothing may always take
	// 256 KiB, and the start of a long WRITE as much, whatever others hold.
	// Default 1 GiB.
	MaxBytes int64

	// IOWorkers bounds the device calls under way that may wait, over all
	// connections. Each may hold a thread. Those that may be long (flushes,
	// durable writes, ranges) take no more than half of them for one
	// export and three quarters for all. Default 128.
	IOWorkers int

	// ConnectionWorkers is the share of IOWorkers that one connection can
	// take. Default 32.
	ConnectionWorkers int

	// DiskOf says which disk is behind an export, where one has several names:
	// connections to the same one are fenced together, and wait for one
	// another's writes. Default: each export is a disk of its own.
	DiskOf func(export string) string

	// OnStall makes the context of device calls, through which a device says
	// that a write waits for room: it calls stalled as that begins and resume
	// when it is over, and waits no longer than the context wait lasts, whose
	// cause becomes the write's error. Default: devices do not say so, and a
	// write that waits is one that is slow.
	OnStall func(ctx context.Context, stalled func() (wait context.Context, resume func())) context.Context

	// HandshakeTimeout is how long a client has from connecting to the start
	// of transmission. Default 10 s.
	HandshakeTimeout time.Duration

	// SlowRequest is how long a request takes, from when it was read to when
	// its reply is queued, that is logged as slow; no more than ten are in a
	// second. READs answered from memory by the reader are not looked at.
	// Default 0: none is logged.
	SlowRequest time.Duration

	// PayloadTimeout is how long the data of one WRITE may take to arrive
	// after its header, to within a quarter more. Between requests a client
	// may be silent for ever. Default 60 s.
	PayloadTimeout time.Duration
}

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.DiskOf == nil {
		o.DiskOf = func(export string) string { return export }
	}
	setDefault(&o.MaxConnections, 4096)
	setDefault(&o.MaxHandshakes, max(1, o.MaxConnections/2))
	setDefault(&o.MaxPerAddress, max(1, o.MaxConnections/4))
	setDefault(&o.MaxPerExport, 256)
	setDefault(&o.MaxInFlight, 128)
	setDefault(&o.MaxInFlightBytes, 32<<20)
	setDefault(&o.MaxBytes, 1<<30)
	setDefault(&o.IOWorkers, 128)
	setDefault(&o.ConnectionWorkers, 32)
	setDefault(&o.HandshakeTimeout, 10*time.Second)
	setDefault(&o.PayloadTimeout, 60*time.Second)
	return o
}

func setDefault[T ~int | ~int64](p *T, value T) {
	if *p <= 0 {
		*p = value
	}
}
