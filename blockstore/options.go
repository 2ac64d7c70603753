package blockstore

import (
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Options tune a store. The zero value works.
type Options struct {
	// Logger takes what an operator should know. Default: slog.Default().
	Logger *slog.Logger

	// MapBudget bounds the memory for maps of sealed layers, in bytes.
	// Default 64 MiB. Less memory means more reads of the metadata.
	MapBudget int64

	// OpenFiles bounds the data files that are open at once, but for files
	// with unsynced writes. Default 1024.
	OpenFiles int

	// CommitBytes of unsynced data make a volume commit by itself. Default
	// 32 MiB. It bounds how long a flush can take.
	CommitBytes int64

	// CommitInterval is the longest that written data stays unsynced. Default 1 s.
	CommitInterval time.Duration

	// Reserve is the free space of the host file system that imports and first
	// writes leave alone, so that metadata never meets a full disk, in
	// bytes. Default 256 MiB.
	Reserve int64

	// For tests.
	fs     hostFS
	bootID string
	tune   func(*pebble.Options)
	// Hooks that make a store break its promises, for the tests to find out:
	// one may hold a batch back, or put another before it; the other leaves
	// the write gate open under a seal.
	reorder  func(b *pebble.Batch, commit func(*pebble.Batch) error) error
	openGate bool
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MapBudget == 0 {
		o.MapBudget = 64 << 20
	}
	if o.OpenFiles == 0 {
		o.OpenFiles = 1024
	}
	if o.CommitBytes == 0 {
		o.CommitBytes = 32 << 20
	}
	if o.CommitInterval == 0 {
		o.CommitInterval = time.Second
	}
	if o.Reserve == 0 {
		o.Reserve = 256 << 20
	}
	if o.fs == nil {
		o.fs = osFS{}
	}
	if o.bootID == "" {
		o.bootID = hostBootID()
	}
	return o
}

// unknownBoot stands for a boot of the host that cannot be told from others:
// each open then counts as one in another boot, and also as one in the same.
const unknownBoot = "unknown"

// hostBootID tells one boot of the host from another: a volume that was open
// for write in an earlier boot may have lost acknowledged writes.
func hostBootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return unknownBoot
	}
	return strings.TrimSpace(string(b))
}
