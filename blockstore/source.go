package blockstore

import "context"

// Source is a disk image on its way into the store: its bytes in order, from
// the first to the last. Package source reads raw, .gz, .xz, .zst and .zip;
// the daemon adds every format that qemu-nbd reads.
//
// A Source is used by one goroutine at a time.
type Source interface {
	// Size returns the size of the disk in bytes, or -1 when only the end of
	// the stream tells.
	Size() int64

	// Next reads the next bytes of the disk. It fills p completely unless the
	// disk ends first. With zero set, the n bytes are known to be zero and p
	// was not written. At the end of the disk it returns 0, false, io.EOF; it
	// never returns n > 0 together with an error. An input that is damaged
	// or cut short is an error other than io.EOF.
	Next(ctx context.Context, p []byte) (n int, zero bool, err error)

	// Consumed returns how much of the input was used so far and how much
	// there is (-1: unknown), in bytes of the input as it is stored (that
	// is: compressed bytes). Safe to call from another goroutine.
	Consumed() (done, total int64)

	// Format names what was read: "raw", "gzip", "xz", "zstd", "zip", "qcow2" …
	Format() string

	Close() error
}
