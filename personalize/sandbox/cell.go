package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"goldstream/jail"
	"goldstream/personalize/sandbox/wire"
)

// Config says what a cell is made of.
type Config struct {
	Tools Tools

	// Disk is the file that the guest gets as its disk. Empty: none.
	Disk string

	// DiskMount is the mount that Disk is on, where this process serves that mount
	// itself: then nothing on it is looked at from here, but by the jail's first
	// process. Otherwise empty.
	DiskMount string

	// AttachLater boots without the disk, until Attach.
	AttachLater bool

	// ReadOnly gives the disk for reading alone; the file is bound so.
	ReadOnly bool

	// Memory is the kernel's, in bytes; default 128 MiB. The cell takes a quarter
	// and 64 MiB more at most.
	Memory int64

	// Deadline is how long the cell may live; default DefaultDeadline.
	Deadline time.Duration

	// BootTimeout is how long the kernel may take to come up; default 2 minutes.
	BootTimeout time.Duration
}

const (
	// DefaultDeadline is the life of a cell that nobody said a deadline for.
	DefaultDeadline = 15 * time.Minute

	defaultMemory = 128 << 20

	// lastWords is how long a kernel may take to end after its line has, or after
	// its guest said that it would.
	lastWords = 10 * time.Second

	defaultBoot = 2 * time.Minute
)

// Cell is one disk cell. Calls wait for each other. All methods may be called from
// any goroutine.
type Cell struct {
	process *jail.Process
	link    *link
	console *console
	cfg     Config
	attach  sync.Mutex
	limit   *time.Timer   // kills it at its deadline
	turn    chan struct{} // held by the open call
	ctx     context.Context
	cancel  context.CancelCauseFunc
	last    time.Duration // lastWords
	done    chan struct{} // closed when nothing of the cell is left
	err     error         // set before done is closed: how the kernel ended

	mu     sync.Mutex
	reason error // why the link broke, if the guest broke it
}

// Causes of a cell's end.
var (
	ErrDeadline = errors.New("the sandbox's time is up")
	ErrBoot     = errors.New("the sandbox does not start")
	errPanicked = errors.New("its kernel panicked")
	errKilled   = errors.New("the sandbox was killed")
)

func (c Config) withDefaults() Config {
	if c.Memory == 0 {
		c.Memory = defaultMemory
	}
	if c.Deadline == 0 {
		c.Deadline = DefaultDeadline
	}
	if c.BootTimeout == 0 {
		c.BootTimeout = defaultBoot
	}
	return c
}

// Start boots a kernel and returns when its guest answers and, with a disk, has
// it. ctx is the cell's: its end kills it.
func Start(ctx context.Context, cfg Config) (*Cell, error) {
	cfg = cfg.withDefaults()
	if cfg.Disk != "" && !cfg.AttachLater {
		if err := checkDisk(ctx, cfg); err != nil {
			return nil, err
		}
	}
	return startAs(ctx, cfg, jailSpec(cfg))
}

func startAs(ctx context.Context, cfg Config, spec jail.Spec) (*Cell, error) {
	c, err := launch(ctx, cfg, spec)
	if err != nil {
		return nil, err
	}
	if err := c.awaitBoot(cfg); err != nil {
		c.Kill()
		_ = c.Wait()
		return nil, err
	}
	return c, nil
}

// launch starts the jail and the goroutines that belong to it.
func launch(ctx context.Context, cfg Config, spec jail.Spec) (*Cell, error) {
	toGuest, err := openPair()
	if err != nil {
		return nil, err
	}
	defer toGuest.r.Close()
	fromGuest, err := openPair()
	if err != nil {
		_ = toGuest.w.Close()
		return nil, err
	}
	defer fromGuest.w.Close()
	c := &Cell{cfg: cfg, link: newLink(toGuest.w), turn: make(chan struct{}, 1), last: lastWords, done: make(chan struct{})}
	c.link.expect(cfg.ReadOnly)
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.console = &console{panicked: func() { c.cancel(errPanicked) }}
	spec.Files = []*os.File{toGuest.r, fromGuest.w}
	spec.Stdout, spec.Stderr = c.console, c.console
	if c.process, err = jail.Start(c.ctx, spec); err != nil {
		c.cancel(err)
		_, _ = toGuest.w.Close(), fromGuest.r.Close()
		return nil, fmt.Errorf("the sandbox's jail cannot be made: %w", err)
	}
	c.limit = time.AfterFunc(cfg.Deadline, func() { c.cancel(ErrDeadline) })
	go c.run(toGuest.w, fromGuest.r)
	return c, nil
}

type pair struct{ r, w *os.File }

func openPair() (p pair, err error) {
	p.r, p.w, err = os.Pipe()
	return p, err
}

// run owns the cell until its last process is gone.
func (c *Cell) run(toGuest, fromGuest *os.File) {
	defer close(c.done)
	defer c.limit.Stop()
	received, abandon := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(received)
		if err := c.link.receive(fromGuest, abandon); errors.Is(err, wire.ErrProtocol) || errors.Is(err, errReadOnly) {
			c.mu.Lock()
			c.reason = err
			c.mu.Unlock()
			c.Kill()
		}
		// Without the line the kernel is of no use, if it is not about to end.
		timer := time.AfterFunc(c.last, c.Kill)
		<-c.process.Done()
		timer.Stop()
	}()
	c.err = c.process.Wait()
	c.cancel(errKilled)
	_ = toGuest.Close()
	c.link.end(errKilled) // its Acks may lie behind a frame that nobody takes
	select {
	case <-received: // the last frames were in the pipe
	case c.turn <- struct{}{}: // no call is there to take them
		close(abandon)
		<-received
		<-c.turn
	}
	_ = fromGuest.Close()
}

func (c *Cell) awaitBoot(cfg Config) error {
	timer := time.NewTimer(cfg.BootTimeout)
	defer timer.Stop()
	signs := []<-chan struct{}{c.link.hello}
	if cfg.Disk != "" && !cfg.AttachLater {
		signs = append(signs, c.link.disk)
	}
	for _, sign := range signs {
		select {
		case <-sign:
		case <-c.link.ended:
			return c.bootError(nil)
		case <-timer.C:
			return c.bootError(fmt.Errorf("it was not ready after %v", cfg.BootTimeout))
		}
	}
	return nil
}

// bootError waits for the end of the cell, for its last words.
func (c *Cell) bootError(cause error) error {
	c.Kill()
	_ = c.Wait()
	if cause == nil {
		cause = c.cause(context.Background())
	}
	return fmt.Errorf("%w: %w%s", ErrBoot, cause, c.console.quote())
}

// Kill ends the cell at once. What was not flushed is lost.
func (c *Cell) Kill() { c.cancel(errKilled) }

// Wait returns when nothing of the cell is left.
func (c *Cell) Wait() error {
	<-c.done
	return c.err
}

// Done is closed when nothing of the cell is left.
func (c *Cell) Done() <-chan struct{} { return c.done }

// Missing names the layers of the jail that this host could not give.
func (c *Cell) Missing() []string { return c.process.Missing() }

// Console is the end of what the kernel printed: data from the guest.
func (c *Cell) Console() string { return c.console.String() }

// Close unmounts everything and ends the kernel, or kills it where it does not
// end by itself. The error tells of a guest that could not: then nothing is known
// about what it wrote.
func (c *Cell) Close(ctx context.Context) error {
	_, err := c.call(ctx, request{op: wire.OpPowerOff})
	if err != nil {
		c.Kill()
		_ = c.Wait()
		return err
	}
	timer := time.AfterFunc(c.last, c.Kill)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-ctx.Done():
		c.Kill()
	}
	if err := c.Wait(); err != nil {
		return fmt.Errorf("the sandbox's kernel did not end in order: %w", c.cause(ctx))
	}
	return nil
}

// explain says why a call broke off.
func (c *Cell) explain(ctx context.Context, op wire.Op, err error) error {
	if !errors.Is(err, errEnded) {
		return fmt.Errorf("%v: %w", op, err)
	}
	<-c.done
	return fmt.Errorf("%v: the sandbox ended: %w%s", op, c.cause(ctx), c.console.quote())
}

// cause is the best known reason of the cell's end; it comes after Wait.
func (c *Cell) cause(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case c.reason != nil:
		return c.reason
	case c.err != nil:
		return c.err
	}
	return errors.New("its kernel powered off")
}
