package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/fuse"
	"goldstream/lifecycle/rules"
	"goldstream/nbd"
	"goldstream/netboot"
	"goldstream/personalize/sandbox"
)

// Options of a Daemon. The zero value works.
type Options struct {
	// Version is what the API tells. Default "unknown".
	Version string
	// Logger takes what happens. Default: nothing is logged.
	Logger *slog.Logger
	// DrainTimeout bounds how long NBD requests and, after them, API requests
	// may take to end at a stop. Default 10 s each.
	DrainTimeout time.Duration
	// SlowRequest is how long an NBD request takes that is logged as slow; 0
	// logs none.
	SlowRequest time.Duration
	// Imports bounds the imports that run at once; each takes up to 100 MiB of
	// memory. More wait. Default 8.
	Imports int
	// Conversions bounds how many of them run a converter; each may take up to
	// 1 GiB of memory. Default 4.
	Conversions int
	// Sandbox says where the parts of sandboxes are; its Dir defaults to
	// DATA/sandbox.
	Sandbox sandbox.Options
	// Sandboxes is how many are kept booted, and how many deployments with steps
	// run at once; each takes 30 MB, and up to 220 MB at work. Default 2.
	Sandboxes int
	// Store tunes the block store; its Logger is the daemon's.
	Store blockstore.Options
	// ReadOnly opens a store, which must exist, for reading only, and changes
	// nothing in the data directory: see blockstore.Options.
	ReadOnly bool
	// Site is what the operator has set for all that the rules of the lifecycle
	// decide.
	Site rules.Site
	// Grace is how long the volume of a profile can be restored after the rules
	// let it go. Default 24 h.
	Grace time.Duration
	// failpoint is called at each place of a change where a kill is worth a test.
	failpoint func(name string)
	// Guest is the path of goldstream-guest, which goes into initrds of servers.
	// Default: beside this program, then in PATH.
	Guest string
	// MustExist refuses a data directory that holds no store instead of
	// making one.
	MustExist bool

	// taskpoint is the same within the engine of tasks; openVolume comes between the
	// store and a sandbox.
	// headerTime is how long clients of the API on the network may take for a handshake
	// and a header.
	headerTime time.Duration
	// restTime is how long they may take for the rest of a body that nothing read.
	restTime   time.Duration
	taskpoint  func(name string)
	openVolume func(ctx context.Context, name string) (fuse.WritableDisk, error)
}

func (o Options) withDefaults() Options {
	if o.Version == "" {
		o.Version = "unknown"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 10 * time.Second
	}
	if o.Imports == 0 {
		o.Imports = 8
	}
	if o.failpoint == nil {
		o.failpoint = func(string) {}
	}
	if o.Conversions == 0 {
		o.Conversions = 4
	}
	if o.headerTime == 0 {
		o.headerTime = netHeaderTime
	}
	if o.restTime == 0 {
		o.restTime = netRest
	}
	if o.Sandboxes == 0 {
		o.Sandboxes = 2
	}
	return o
}

// Daemon owns an open data directory.
type Daemon struct {
	dir     string // absolute
	opts    Options
	log     *slog.Logger
	store   *blockstore.Store
	tokens  *tokens
	exports *exports
	views   *views
	boots   *bootRecords
	booting atomic.Pointer[netboot.Handler] // while it is served
	started time.Time

	imports, conversions slots
	lifecycle            lifecycle
	clients              atomic.Pointer[nbd.Server] // nil where none serves
	cells                cells
	accounts             accounts
	requests             v1.Requests
	draining             atomic.Bool // a stop has begun
	holds                holds
}

// Open opens the data directory. The error wraps blockstore.ErrLocked where
// another process owns it.
func Open(dir string, o Options) (*Daemon, error) {
	o = o.withDefaults()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	blocks := filepath.Join(dir, "blocks")
	o.Store.ReadOnly = o.ReadOnly
	if o.MustExist || o.ReadOnly {
		err = mustExist(dir, blocks)
	} else {
		err = os.MkdirAll(dir, 0o750)
	}
	if err != nil {
		return nil, err
	}
	o.Store.Logger = o.Logger
	store, err := blockstore.Open(blocks, o.Store)
	if err != nil {
		return nil, err
	}
	d := &Daemon{dir: dir, opts: o, log: o.Logger, store: store, started: time.Now(),
		exports: newExports(store), views: newViews(store, o.Logger),
		imports: make(slots, o.Imports), conversions: make(slots, o.Conversions)}
	d.cells.d = d
	if d.tokens, err = openTokens(filepath.Join(dir, "exports"), d.log, o.ReadOnly); err != nil {
		return nil, errors.Join(fmt.Errorf("export tokens: %w", err), store.Close())
	}
	if d.boots, err = openBootRecords(d.bootDir("servers"), d.log, o.ReadOnly); err != nil {
		return nil, errors.Join(fmt.Errorf("boot records: %w", err), store.Close())
	}
	if o.ReadOnly {
		return d, nil
	}
	if err := d.tidy(); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return d, nil
}

// tidy removes what an earlier process has left.
func (d *Daemon) tidy() error {
	// What an upload left there that a kill cut short; the lock is ours.
	if err := os.RemoveAll(d.tmp()); err != nil {
		return fmt.Errorf("cannot empty the directory for uploads: %w", err)
	}
	for _, r := range d.boots.list() {
		if err := d.tokens.markBoot(r.TokenID); err != nil {
			return fmt.Errorf("export tokens: %w", err)
		}
	}
	if err := d.forgetGone(context.Background()); err != nil {
		return fmt.Errorf("export tokens: %w", err)
	}
	if err := d.sweepBootFiles(); err != nil {
		return fmt.Errorf("boot files: %w", err)
	}
	if err := d.views.forget(context.Background()); err != nil {
		return fmt.Errorf("snapshots of mounts: %w", err)
	}
	if err := d.clearSlots(context.Background()); err != nil {
		d.log.Warn("a slot for sandboxes of an earlier process is left", "error", err) // disks are served all the same
	}
	return nil
}

// changeable refuses what would write to a data directory that is only read.
func (d *Daemon) changeable() error {
	if !d.opts.ReadOnly {
		return nil
	}
	return d.store.Changeable()
}

// Close ends tasks and sandboxes, closes the stores and lets go of the data directory.
func (d *Daemon) Close() error {
	err := d.endTasks()
	d.cells.close() // after the tasks that use them
	return errors.Join(err, d.store.Close())
}

// ErrNoData is the cause of an Open with MustExist of a directory without a
// store; blockstore.ErrNotFound is one too.
var ErrNoData = errors.New("no goldstream data")

type noData struct{ dir string }

func (e *noData) Error() string {
	return fmt.Sprintf("there is no goldstream data in %s: name its directory with --data, or make it with 'goldstream serve' or 'goldstream image import'", e.dir)
}

func (e *noData) Unwrap() []error { return []error{ErrNoData, blockstore.ErrNotFound} }

func mustExist(dir, blocks string) error {
	_, err := os.Stat(blocks)
	if errors.Is(err, fs.ErrNotExist) {
		return &noData{dir: dir}
	}
	return err
}
