package blockstore

import (
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"
)

// Options tune a store. The zero value works.
type Options struct {
	// Logger takes what an operator should know. Default: slog.Default().
	Logger *slog.Logger

	// MapBudget bounds the memory for maps, of sealed layers and of what
	// volumes write, in bytes. Default 64 MiB. Less memory means more reads of
	// the metadata. Changes that no commit has written stay in memory; when
	// they fill the budget, writers commit more often.
	MapBudget int64

	// OpenFiles bounds the data files that are open at once, but for files
	// with unsynced writes. Default: a quarter of what the process may open
	// (RLIMIT_NOFILE), 16 to 8192; the rest is for connections, intent rings
	// and metadata.
	OpenFiles int

	// CommitBytes of unsynced data make a volume commit by itself. Default
	// 32 MiB. It bounds how long a flush can take.
	CommitBytes int64

	// CommitInterval is the longest that written data stays unsynced. Default 1 s.
	CommitInterval time.Duration

	// Reserve is the free space of the host's file system, in bytes, that first
	// writes of blocks leave alone, so that metadata never meets a full disk.
	// Default: 2 GiB, or 2 % of the file system if that is more, but at most
	// a sixteenth of it.
	Reserve int64

	// Ballast is the size in bytes of a file that is given up when another
	// program has used the reserve up. Default 256 MiB, but at most 1/32 of
	// the file system; negative: none.
	Ballast int64

	// FullStall is how long a first write waits for space, or for its
	// volume's quota, before it fails. It should be less than what clients
	// wait for an answer. Default 60 s; negative: it fails at once.
	FullStall time.Duration

	// Watermark is how full the host's file system may be, in percent, before
	// clones and imports are refused. They are also when less than one and a
	// half times the reserve is free. Default 90.
	Watermark int

	// CheckpointInterval is how often a copy of the metadata is kept, if it has
	// changed. Default 1 hour; negative: never.
	CheckpointInterval time.Duration

	// Checkpoints is how many such copies are kept. Default 24.
	Checkpoints int

	// ReadOnly opens a store that exists to read what can be read of it, and
	// changes nothing: see readonly.go. What is to be changed is refused with
	// ErrReadOnly.
	ReadOnly bool

	// BackgroundRate bounds what imports, checksums and scrubs read and write
	// together, in bytes a second. Default: no bound. Whatever it is, they slow
	// down while commits of volumes take much longer than without them.
	BackgroundRate int64

	// For tests.
	fs       hostFS
	bootID   string
	pacer    *pacer
	ringSize int // of intent rings, in bytes
	tune     func(*pebble.Options)
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
		o.OpenFiles = defaultOpenFiles()
	}
	if o.CommitBytes == 0 {
		o.CommitBytes = 32 << 20
	}
	if o.CommitInterval == 0 {
		o.CommitInterval = time.Second
	}
	if o.FullStall == 0 {
		o.FullStall = 60 * time.Second
	}
	if o.Watermark == 0 {
		o.Watermark = 90
	}
	if o.CheckpointInterval == 0 {
		o.CheckpointInterval = time.Hour
	}
	if o.Checkpoints == 0 {
		o.Checkpoints = 24
	}
	if o.fs == nil {
		o.fs = osFS{}
	}
	if o.pacer == nil {
		o.pacer = newPacer(o.BackgroundRate)
	}
	if o.ringSize == 0 {
		o.ringSize = ringSize
	}
	if o.ReadOnly {
		o.fs = readOnlyFS{o.fs}
	}
	if o.bootID == "" {
		o.bootID = hostBootID()
	}
	return o
}

// defaultOpenFiles is what Options.OpenFiles says.
func defaultOpenFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 / 4
	}
	return int(min(max(limit.Cur/4, 16), 8192))
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
