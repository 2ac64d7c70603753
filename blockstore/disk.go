package blockstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Disk is a handle on an OS volume, a snapshot or a golden image. Its methods may be
// called from many goroutines; Close once, after all others returned. What is
// called later is refused with ErrClosed: the ring and the pages that it would
// touch may be gone.
// Offsets and lengths are in bytes, of any alignment.
type Disk struct {
	v      *volume // nil for an image or a snapshot
	image  *view
	closer func() error
	once   sync.Once
	closed atomic.Bool
}

// OpenImage opens a golden image for reading. It stays readable while open,
// even if its name is deleted. Error: ErrNotFound.
func (s *Store) OpenImage(_ context.Context, name string) (*Disk, error) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	if s.cat.mu.shut {
		return nil, errf(ErrClosed, "the store is closed")
	}
	e, err := s.cat.imageLocked(name)
	if err != nil {
		return nil, err
	}
	return s.openVersionLocked("image "+name, e.lineage, e.version), nil
}

// openVersionLocked opens a sealed version, which stays while it is open. What
// it is called is for messages.
func (s *Store) openVersionLocked(called string, l *lineage, at *version) *Disk {
	at.users++
	d := &Disk{image: s.view(l, at.number, at.rec.Size)}
	s.cat.mu.readers[d] = called
	d.closer = func() error {
		d.image.close()
		s.cat.mu.Lock()
		defer s.cat.mu.Unlock()
		delete(s.cat.mu.readers, d)
		if at.users--; at.users == 0 && at.rec.State == versionDoomed {
			s.reclaim.wake()
		}
		return nil
	}
	return d
}

// Size returns the size of the disk in bytes.
func (d *Disk) Size() int64 {
	if d.v != nil {
		return d.v.top.Load().size
	}
	return d.image.size
}

// ReadOnly is true for golden images and snapshots, and for all disks of a store
// that is open for reading only.
func (d *Disk) ReadOnly() bool { return d.v == nil || d.v.s.o.ReadOnly }

// open refuses an operation on a handle that is closed.
func (d *Disk) open(op string) error {
	if d.closed.Load() {
		return errf(ErrClosed, "%s refused: the disk was closed", op)
	}
	return nil
}

// check refuses a range that is not within the disk.
func (d *Disk) check(op string, off, length int64) error {
	if err := d.open(op); err != nil {
		return err
	}
	if size := d.Size(); off < 0 || length < 0 || off > size || length > size-off {
		return errf(ErrRange, "%s of %d bytes at %d: the disk ends at %d", op, length, off, size)
	}
	return nil
}

func (d *Disk) writable(op string, off, length int64) error {
	if d.v != nil && d.v.s.o.ReadOnly {
		return d.v.s.usable()
	}
	if d.v == nil {
		return errf(ErrReadOnly, "%s refused: golden images and snapshots are never changed; make a volume from it", op)
	}
	return d.check(op, off, length)
}

// ReadAt fills p. Errors: ErrRange, ErrCorrupt, and those of the host.
func (d *Disk) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := d.check("read", off, int64(len(p))); err != nil {
		return err
	}
	return d.reader().read(p, off)
}

// TryReadAt fills p if that needs neither the disk nor the metadata, and
// reports whether it did. It does not block and allocates nothing.
func (d *Disk) TryReadAt(p []byte, off int64) bool {
	if d.check("read", off, int64(len(p))) != nil {
		return false
	}
	return d.reader().tryRead(p, off)
}

// WriteAt writes p. When it returns, a kill of the process cannot undo it;
// with fua, neither can a power loss.
//
// Where the disk of the host is full, or the volume's quota used up, a write of
// blocks that the volume does not hold yet waits for room, Options.FullStall
// at most, and no longer than ctx; see OnStall.
//
// Errors: ErrReadOnly, ErrRange, ErrNoSpace, ErrFailed, the context's. After
// an error each 4 KiB block is as before or as written.
func (d *Disk) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	if err := d.writable("write", off, int64(len(p))); err != nil || len(p) == 0 {
		return err
	}
	return d.v.then(fua, d.v.write(ctx, p, off))
}

// Trim says that the range is not needed any more; whole blocks in it read as
// zero then. Errors as WriteAt.
func (d *Disk) Trim(ctx context.Context, off, length int64, fua bool) error {
	if err := d.writable("trim", off, length); err != nil {
		return err
	}
	_, err := d.v.zero(ctx, (off+BlockSize-1)&^(BlockSize-1), off+length)
	return d.v.then(fua, err)
}

// WriteZeroes makes the range read as zero; with noHole its blocks stay
// allocated. Errors as WriteAt.
func (d *Disk) WriteZeroes(ctx context.Context, off, length int64, noHole, fua bool) error {
	if err := d.writable("write zeroes", off, length); err != nil || length == 0 {
		return err
	}
	if noHole {
		return d.v.then(fua, d.v.writeZeros(ctx, off, off+length))
	}
	return d.v.then(fua, d.v.zeroAny(ctx, off, off+length))
}

// Flush makes every change that returned before durable, by whichever handle
// it was made. Error: ErrFailed; then those changes may be lost.
func (d *Disk) Flush(context.Context) error {
	if err := d.open("flush"); err != nil {
		return err
	}
	if d.v == nil {
		return nil
	}
	began := time.Now()
	err := d.v.flush()
	d.v.s.counted.flush.since(began)
	return err
}

// Prefetch starts reading the range into memory.
func (d *Disk) Prefetch(ctx context.Context, off, length int64) error {
	if err := d.check("prefetch", off, length); err != nil {
		return err
	}
	return d.reader().prefetch(ctx, off, off+length)
}

// Extents calls yield with consecutive runs that cover the range, until yield
// returns false: zero runs read as zero and take no room; own runs are held
// by the volume's own layer, or are data of an image or snapshot. Neighbouring
// runs may be alike.
func (d *Disk) Extents(ctx context.Context, off, length int64, yield func(length int64, zero, own bool) bool) error {
	if err := d.check("block status", off, length); err != nil {
		return err
	}
	return d.reader().extents(ctx, off, off+length, yield)
}

// Close ends the use of the handle. The last handle of a volume commits what
// was written; an error says that this failed.
func (d *Disk) Close() error {
	var err error
	d.once.Do(func() {
		d.closed.Store(true)
		err = d.closer()
	})
	return err
}

// then ends a change: with fua it is committed.
func (v *volume) then(fua bool, err error) error {
	if err != nil || !fua {
		return err
	}
	return v.flush()
}
