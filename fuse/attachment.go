package fuse

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
)

// attachment is one stay of a volume in a slot.
type attachment struct {
	volume   string
	disk     WritableDisk
	readOnly bool
	size     int64
	calls    *calls
	mu       struct {
		sync.Mutex
		errors DiskErrors
	}
}

// DiskErrors says how often the store failed while a volume was attached. A guest
// may not have noticed: it may write without asking for the outcome.
type DiskErrors struct {
	Volume                 string
	Reads, Writes, Flushes int64
	First                  error
}

func (e *DiskErrors) Error() string {
	return fmt.Sprintf("the store failed on volume %q: %d reads, %d writes, %d flushes; first: %v", e.Volume, e.Reads, e.Writes, e.Flushes, e.First)
}

// Unwrap returns the first error.
func (e *DiskErrors) Unwrap() error { return e.First }

func newAttachment(volume string, disk WritableDisk, readOnly bool, log *slog.Logger) *attachment {
	a := &attachment{volume: volume, disk: disk, readOnly: readOnly, size: disk.Size(), calls: newCalls(log, syscall.EIO)}
	a.calls.failed = a.count
	return a
}

// count is told of every call that the store failed.
func (a *attachment) count(op string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch op {
	case opWrite, opAllocate:
		a.mu.errors.Writes++
	case opFlush:
		a.mu.errors.Flushes++
	default:
		a.mu.errors.Reads++
	}
	if a.mu.errors.First == nil {
		a.mu.errors.First = err
	}
}

func (a *attachment) failed() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.errors.First == nil {
		return nil
	}
	e := a.mu.errors
	e.Volume = a.volume
	return &e
}

// ends lets no call in any more and waits for those that run.
func (a *attachment) ends(ctx context.Context) error {
	if a.calls.gate.shut(ctx) == nil {
		a.calls.end()
		return nil
	}
	a.calls.end()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stuckGrace)
	defer cancel()
	return a.calls.gate.shut(grace)
}

// close makes what was written durable, whatever the guest asked for.
func (a *attachment) close(ctx context.Context) error {
	if !a.readOnly {
		if err := a.disk.Flush(ctx); err != nil {
			a.count(opFlush, err)
		}
	}
	if err := a.disk.Close(); err != nil {
		a.count(opFlush, err)
	}
	return a.failed()
}

// open is a file on the volume, for as long as it is attached.
func (a *attachment) open() *file {
	f := &file{calls: a.calls, path: "volume " + a.volume, disk: a.disk, size: a.size, released: func(*file) {}}
	if !a.readOnly {
		f.writable = a.disk
	}
	return f
}
