package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"goldstream/blockstore"

	"golang.org/x/sys/unix"
)

// opens opens clones of the image with a million extents, of which nothing is
// in memory, and reads a block.
func (b *bars) opens(ctx context.Context) error {
	var opened, read []float64
	p := make([]byte, blockstore.BlockSize)
	for i := range b.rounds(100, 30) {
		if err := cloner(ctx, b.s, "many")(1_000_000 + i); err != nil {
			return err
		}
		name := fmt.Sprintf("many-%d", 1_000_000+i)
		var d *blockstore.Disk
		t, err := timed(func() (err error) { d, err = b.s.OpenVolume(ctx, name); return err })
		if err != nil {
			return err
		}
		opened = append(opened, t)
		t, err = timed(func() error { return d.ReadAt(ctx, p, extentOffset(rand.IntN(b.extents))) })
		read = append(read, t)
		if err := errors.Join(err, d.Close()); err != nil {
			return err
		}
	}
	what := fmt.Sprintf(" of a volume over an image of %d extents, p99", b.extents)
	b.atMost(line{What: "open" + what, Unit: "ms", Ours: quantile(opened, 0.99)}, 5)
	b.atMost(line{What: "first read" + what, Unit: "ms", Ours: quantile(read, 0.99)}, 1)
	return nil
}

// readSpan is how much of a plain file and of a volume is read, and cached.
const readSpan = 256 << 20

// cachedReads reads random cached blocks of a volume and of a plain file.
func (b *bars) cachedReads(ctx context.Context) error {
	v, err := b.newVolume(ctx, "cached", readSpan)
	if err != nil {
		return err
	}
	defer v.remove()
	plain, err := newPlainFile(filepath.Join(b.dir, "cached"), readSpan)
	if err != nil {
		return err
	}
	defer plain.remove()
	big := make([]byte, 1<<20)
	pattern(big, 1)
	for off := int64(0); off < readSpan; off += int64(len(big)) {
		if err := errors.Join(v.write(big, off), plain.write(big, off)); err != nil {
			return err
		}
	}
	if err := errors.Join(v.flush(), plain.flush()); err != nil {
		return err
	}
	fd := int(plain.f.Fd())
	offsets := make([]int64, 50_000)
	for i := range offsets {
		offsets[i] = rand.Int64N(readSpan/blockstore.BlockSize) * blockstore.BlockSize
	}
	ours, theirs, err := b.compareReads(offsets, diskReader(ctx, v.d), func(p []byte, off int64) error {
		_, err := unix.Pread(fd, p, off)
		return err
	})
	if err != nil {
		return err
	}
	b.atLeast(line{What: "4 KiB random cached read", Unit: "/s", Ours: 1e9 / ours.wall, Peer: "pread of a plain file", Theirs: 1e9 / theirs.wall}, 0.9)
	return b.ownTime(ctx)
}

// ownTime is what the store adds to the kernel's own time of a read that hits a
// million extents alike: control is the same system call on the layer's file.
func (b *bars) ownTime(ctx context.Context) error {
	const name = "many-2000000"
	if err := cloner(ctx, b.s, "many")(2_000_000); err != nil {
		return err
	}
	d, err := b.s.OpenVolume(ctx, name)
	if err != nil {
		return err
	}
	defer d.Close()
	f, err := b.largestLayer()
	if err != nil {
		return err
	}
	defer f.Close()
	p, fd := make([]byte, blockstore.BlockSize), int(f.Fd())
	for i := range b.extents { // maps and data are in memory from here on
		if err := d.ReadAt(ctx, p, extentOffset(i)); err != nil {
			return err
		}
	}
	offsets := make([]int64, b.rounds(300_000, 50_000))
	for i := range offsets {
		offsets[i] = extentOffset(rand.IntN(b.extents))
	}
	ours, theirs, err := b.compareReads(offsets, diskReader(ctx, d), func(p []byte, off int64) error {
		return tryPread(fd, p, off)
	})
	if err != nil {
		return err
	}
	b.atMost(line{What: fmt.Sprintf("own CPU of a cached read, %d extents hit alike", b.extents), Unit: "ns", Ours: ours.cpu - theirs.cpu}, 200)
	b.report.add(line{What: "CPU of the same, all in all", Unit: "ns", Ours: ours.cpu, Peer: "preadv2 of the layer's file", Theirs: theirs.cpu})
	return nil
}

// largestLayer opens the data file that takes the most room.
func (b *bars) largestLayer() (*os.File, error) {
	files, err := filepath.Glob(filepath.Join(b.dir, "store/layers/*/000000"))
	var best string
	var most int64
	for _, path := range files {
		if n := diskUse(path); n > most {
			best, most = path, n
		}
	}
	if err != nil {
		return nil, err
	}
	return os.Open(best)
}

// diskUse returns the bytes that a file takes on the disk; 0 if there is none.
func diskUse(path string) int64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Blocks * 512
}

// diskReader reads as the NBD server does: what is in memory without waiting.
func diskReader(ctx context.Context, d *blockstore.Disk) func([]byte, int64) error {
	return func(p []byte, off int64) error {
		if d.TryReadAt(p, off) {
			return nil
		}
		return d.ReadAt(ctx, p, off)
	}
}

// tryPread is preadv2(RWF_NOWAIT) without a word to the scheduler, which is what
// the store calls.
func tryPread(fd int, p []byte, off int64) error {
	iov := unix.Iovec{Base: unsafe.SliceData(p), Len: uint64(len(p))}
	n, _, errno := syscall.RawSyscall6(unix.SYS_PREADV2, uintptr(fd), uintptr(unsafe.Pointer(&iov)), 1, uintptr(off), 0, unix.RWF_NOWAIT)
	if errno == 0 && int(n) == len(p) {
		return nil
	}
	if errno == unix.EOPNOTSUPP || errno == unix.EAGAIN || errno == 0 {
		_, err := unix.Pread(fd, p, off)
		return err
	}
	return errno
}

// cost of one read, in ns.
type cost struct{ wall, cpu float64 }

// compareReads reads all offsets in both ways by turns, nine times, and returns
// the least cost of each.
func (b *bars) compareReads(offsets []int64, ours, theirs func([]byte, int64) error) (o, t cost, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := make([]byte, blockstore.BlockSize)
	trial := func(best *cost, read func([]byte, int64) error) func(int) error {
		return func(round int) error {
			before := threadTime()
			wall, err := timed(func() error {
				for _, off := range offsets {
					if err := read(p, off); err != nil {
						return err
					}
				}
				return nil
			})
			n := float64(len(offsets))
			c := cost{wall * 1e6 / n, float64(threadTime()-before) / n}
			if round == 0 {
				*best = c
			}
			*best = cost{min(best.wall, c.wall), min(best.cpu, c.cpu)}
			return err
		}
	}
	err = byTurns(9, trial(&o, ours), trial(&t, theirs))
	return o, t, err
}
