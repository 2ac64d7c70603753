package daemon

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"goldstream/api/v1"
	"goldstream/fuse"
	"goldstream/personalize/runner"
	"goldstream/personalize/sandbox"
)

// slotPatience is how long a slot may take to end at a stop.
const slotPatience = 10 * time.Second

// cells are the disk cells of a daemon, kept booted in slots below DATA/slots. They
// are opened by the first who needs one: many daemons never do, and a host that has
// not what they need serves disks all the same.
type cells struct {
	d  *Daemon
	mu struct {
		sync.Mutex
		open   *openCells
		users  int
		closed bool
		ahead  bool // keys are made before they are asked for
	}
	warming sync.WaitGroup
}

// openCells are a pool and what it stands on.
type openCells struct {
	tools sandbox.Tools
	slots []*fuse.Slot
	pool  *sandbox.Pool
	// scriptTools are looked up once.
	scriptTools func() (sandbox.ScriptTools, error)
	keys        *keyPool // nil: keys are made when they are asked for
}

func (d *Daemon) slotsDir() string { return filepath.Join(d.dir, "slots") }

// take returns a cell with a volume in it, which the caller has barred. Close the
// lease, then call done.
func (c *cells) take(ctx context.Context, volume string) (l *sandbox.Lease, done func(), err error) {
	return c.lease(ctx, volume, false)
}

// view returns a cell that sees a volume as of now, for reading.
func (c *cells) view(ctx context.Context, volume string) (l *sandbox.Lease, done func(), err error) {
	return c.lease(ctx, viewMark+volume, true)
}

func (c *cells) lease(ctx context.Context, disk string, readOnly bool) (l *sandbox.Lease, done func(), err error) {
	pool, done, err := c.use(ctx)
	if err != nil {
		return nil, nil, err
	}
	if l, err = pool.Take(ctx, disk, readOnly); err != nil {
		done()
		return nil, nil, err
	}
	return l, done, nil
}

// script starts a script cell, for who has a cell.
func (c *cells) script(ctx context.Context) (runner.Local, error) {
	c.mu.Lock()
	open := c.mu.open
	c.mu.Unlock()
	if open == nil {
		return nil, sandbox.ErrPoolClosed
	}
	tools, err := open.scriptTools()
	if err != nil {
		return nil, err
	}
	return sandbox.StartScript(ctx, sandbox.ScriptConfig{Tools: tools, Guest: open.tools.Guest})
}

// makeAhead has the cells that are opened from now on make keys in time: for a
// process that stays.
func (c *cells) makeAhead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.ahead = true
}

// rsaKey is a key for one disk, for who has a cell.
func (c *cells) rsaKey(ctx context.Context) (*rsa.PrivateKey, error) {
	c.mu.Lock()
	open := c.mu.open
	c.mu.Unlock()
	if open == nil {
		return nil, sandbox.ErrPoolClosed
	}
	return open.keys.key(ctx)
}

// ready tells what keeps this host from having cells.
func (c *cells) ready(ctx context.Context) error {
	_, done, err := c.use(ctx)
	if err != nil {
		return cellsError(err)
	}
	done()
	return nil
}

// cellsError says what to do.
func cellsError(err error) error {
	e := &v1.Error{Code: v1.CodeFailed, Message: fmt.Sprintf("disks cannot be opened in sandboxes here: %v", err), Advice: "'goldstream doctor' and 'goldstream sandbox check' name what this host lacks, and the cure."}
	if errors.Is(err, sandbox.ErrMissing) || errors.Is(err, sandbox.ErrNotPrepared) {
		e.Code = v1.CodeNotFound
	}
	return e
}

// use returns the pool, opened if it is not; it stays open until done is called.
func (c *cells) use(ctx context.Context) (p *sandbox.Pool, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, nil, sandbox.ErrPoolClosed
	}
	if c.mu.open != nil && c.mu.users == 0 && c.mu.open.outdated() {
		c.mu.open.close(c.d)
		c.mu.open = nil
	}
	if c.mu.open == nil {
		if c.mu.open, err = c.d.openCells(ctx); err != nil {
			return nil, nil, err
		}
		if c.mu.ahead {
			c.mu.open.keys = newKeyPool(keysAhead, newRSAKey)
		}
	}
	c.mu.users++
	return c.mu.open.pool, sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.mu.users--
	}), nil
}

// warm opens the cells if this host was prepared for them, in the background.
func (c *cells) warm(ctx context.Context) {
	found, err := filepath.Glob(filepath.Join(c.d.sandboxOptions().Dir, "tools-*"))
	if err != nil || len(found) == 0 {
		return
	}
	c.warming.Go(func() {
		if err := c.ready(ctx); err != nil && ctx.Err() == nil {
			c.d.log.Warn("plans with steps cannot be deployed", "error", err)
		}
	})
}

// close ends all cells, those in use too, and waits until their leases are closed.
func (c *cells) close() {
	c.mu.Lock()
	c.mu.closed = true
	open := c.mu.open
	c.mu.open = nil
	c.mu.Unlock()
	c.warming.Wait()
	if open != nil {
		open.close(c.d)
	}
}

func (d *Daemon) sandboxOptions() sandbox.Options {
	o := d.opts.Sandbox
	if o.Dir == "" {
		o.Dir = filepath.Join(d.dir, "sandbox")
	}
	return o
}

func (d *Daemon) openCells(ctx context.Context) (_ *openCells, err error) {
	o := &openCells{scriptTools: sync.OnceValues(sandbox.FindScriptTools)}
	if o.tools, err = sandbox.Find(ctx, d.sandboxOptions()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			o.close(d)
		}
	}()
	// Whoever reaches a slot may open what is in it.
	if err := os.MkdirAll(d.slotsDir(), 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(d.slotsDir(), 0o700); err != nil {
		return nil, err
	}
	var list []sandbox.Slot
	for i := range d.opts.Sandboxes {
		dir := filepath.Join(d.slotsDir(), strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		slot, err := fuse.MountSlot(ctx, dir, fuse.SlotOptions{Open: d.openInSlot, Logger: d.log})
		if err != nil {
			return nil, fmt.Errorf("a place for disks cannot be mounted: %w", err)
		}
		o.slots = append(o.slots, slot)
		list = append(list, slot)
	}
	o.pool = sandbox.NewPool(sandbox.PoolOptions{Config: sandbox.Config{Tools: o.tools}, Slots: list, Log: d.log})
	return o, nil
}

// openInSlot opens a volume that was barred for a deployment, or a view of one.
func (d *Daemon) openInSlot(ctx context.Context, volume string) (fuse.WritableDisk, error) {
	if name, ok := strings.CutPrefix(volume, viewMark); ok {
		disk, err := d.views.open(ctx, name)
		if err != nil {
			return nil, err
		}
		return disk, nil
	}
	wait, cancel := context.WithTimeout(ctx, alonePatience)
	defer cancel()
	if err := d.unused(wait, volume); err != nil {
		return nil, err
	}
	if d.opts.openVolume != nil {
		return d.opts.openVolume(ctx, volume)
	}
	disk, err := d.store.OpenVolume(ctx, volume)
	if err != nil {
		return nil, err
	}
	return disk, nil
}

// outdated tells that the sandbox was prepared anew: no cell can be booted of what
// was removed then.
func (o *openCells) outdated() bool {
	_, err := os.Stat(o.tools.Image)
	return errors.Is(err, fs.ErrNotExist)
}

func (o *openCells) close(d *Daemon) {
	if o.pool != nil {
		o.pool.Close()
	}
	o.keys.close()
	ctx, cancel := context.WithTimeout(context.Background(), slotPatience)
	defer cancel()
	for _, slot := range o.slots {
		if err := slot.Close(ctx); err != nil {
			d.log.Warn("a slot for sandboxes does not end", "slot", slot.Path(), "error", err)
		}
	}
	if err := d.clearSlots(ctx); err != nil {
		d.log.Warn("a slot for sandboxes is left", "error", err)
	}
}

// clearSlots removes slots, also those of a daemon that was killed. Its cells have
// ended with it; their cgroups are swept with the next jail.
func (d *Daemon) clearSlots(ctx context.Context) error {
	above, err := os.Open(d.slotsDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer above.Close()
	list, err := above.Readdirnames(-1) // ReadDir may look at what they are, which on a dead mount fails
	var errs []error
	for _, name := range list {
		dir := filepath.Join(d.slotsDir(), name)
		if _, err := fuse.Unmount(ctx, dir); err != nil && !errors.Is(err, fuse.ErrNotMounted) {
			errs = append(errs, err)
		}
		errs = append(errs, os.Remove(dir))
	}
	return errors.Join(append(errs, err, os.Remove(d.slotsDir()))...)
}
