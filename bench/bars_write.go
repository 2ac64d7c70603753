package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"goldstream/blockstore"
)

// writable is a disk or a plain file.
type writable interface {
	write(p []byte, off int64) error
	flush() error
	remove() error
}

// volumeFile is a volume of the store.
type volumeFile struct {
	ctx  context.Context
	s    *blockstore.Store
	d    *blockstore.Disk
	name string
}

func (b *bars) newVolume(ctx context.Context, name string, size int64) (*volumeFile, error) {
	if _, err := b.s.CreateVolume(ctx, blockstore.CloneRequest{Name: name, Size: size}); err != nil {
		return nil, err
	}
	d, err := b.s.OpenVolume(ctx, name)
	return &volumeFile{ctx, b.s, d, name}, err
}

func (v *volumeFile) write(p []byte, off int64) error { return v.d.WriteAt(v.ctx, p, off, false) }
func (v *volumeFile) flush() error                    { return v.d.Flush(v.ctx) }
func (v *volumeFile) remove() error {
	if err := v.d.Close(); err != nil {
		return err
	}
	return v.s.DeleteVolume(v.ctx, v.name, "")
}

// plainFile is a sparse file.
type plainFile struct{ f *os.File }

func newPlainFile(path string, size int64) (*plainFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &plainFile{f}, f.Truncate(size)
}

func (p *plainFile) write(b []byte, off int64) error {
	_, err := p.f.WriteAt(b, off)
	return err
}
func (p *plainFile) flush() error  { return fdatasync(p.f) }
func (p *plainFile) remove() error { p.f.Close(); return os.Remove(p.f.Name()) }

const writeSpan = 1 << 30

// firstWrites measures random first writes of 4 KiB, without flushes and with
// one for each 32, beside a sparse file.
func (b *bars) firstWrites(ctx context.Context) error {
	for _, w := range []struct {
		what  string
		n     int
		every int
		limit float64
	}{
		{"4 KiB random first write, no flush", 1024, 0, 1.3},
		{"4 KiB random first write, flush every 32", b.rounds(2048, 512), 32, 1.6},
	} {
		var ours, theirs []float64
		var used []writable // removed in the end: that would disturb the others
		err := byTurns(b.rounds(9, 5), func(i int) error {
			f, err := b.newVolume(ctx, fmt.Sprintf("first-%d-%d", w.every, i), writeSpan)
			if err != nil {
				return err
			}
			used = append(used, f)
			return timeWrites(f, w.n, w.every, uint64(i), &ours)
		}, func(i int) error {
			f, err := newPlainFile(filepath.Join(b.dir, fmt.Sprintf("first-%d-%d", w.every, i)), writeSpan)
			if err != nil {
				return err
			}
			used = append(used, f)
			return timeWrites(f, w.n, w.every, uint64(i), &theirs)
		})
		if err != nil {
			return err
		}
		for _, f := range used {
			if err := f.remove(); err != nil {
				return err
			}
		}
		b.within(line{What: w.what, Unit: "us", Ours: median(ours), Peer: "plain sparse file", Theirs: median(theirs)}, w.limit)
	}
	return nil
}

// timeWrites writes n blocks at random, all different, with a flush after so
// many, and notes the time for each, in us.
func timeWrites(f writable, n, every int, seed uint64, times *[]float64) error {
	blocks := rand.New(rand.NewPCG(seed, 1)).Perm(writeSpan / blockstore.BlockSize)[:n]
	p := make([]byte, blockstore.BlockSize)
	pattern(p, seed)
	// What a new volume or file costs once is not counted.
	if err := f.write(p, writeSpan-blockstore.BlockSize); err != nil {
		return err
	}
	if err := f.flush(); err != nil {
		return err
	}
	t, err := timed(func() error {
		for i, block := range blocks {
			if err := f.write(p, int64(block)*blockstore.BlockSize); err != nil {
				return err
			}
			if every > 0 && i%every == every-1 {
				if err := f.flush(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	*times = append(*times, t*1000/float64(n))
	if err != nil {
		return err
	}
	return f.flush()
}

// flushes has 64 volumes, and 64 plain files, each write and flush at once.
func (b *bars) flushes(ctx context.Context) error {
	const volumes = 64
	var ours, theirs [volumes]writable
	for i := range volumes {
		v, err := b.newVolume(ctx, fmt.Sprintf("flush-%d", i), writeSpan)
		if err != nil {
			return err
		}
		p, err := newPlainFile(filepath.Join(b.dir, fmt.Sprintf("flush-%d", i)), writeSpan)
		if err != nil {
			return err
		}
		ours[i], theirs[i] = v, p
		defer v.remove()
		defer p.remove()
	}
	var rate, plainRate, slow, plainSlow []float64
	trial := func(files []writable, rates, slowest *[]float64) func(int) error {
		return func(round int) error {
			r, p99, err := flushAll(files, round, b.rounds(25, 8))
			*rates, *slowest = append(*rates, r), append(*slowest, p99)
			return err
		}
	}
	if err := byTurns(b.rounds(9, 5), trial(ours[:], &rate, &slow), trial(theirs[:], &plainRate, &plainSlow)); err != nil {
		return err
	}
	b.atLeast(line{What: "write + flush of 64 volumes at once", Unit: "/s", Ours: median(rate), Peer: "64 plain files", Theirs: median(plainRate)}, 0.5)
	b.within(line{What: "write + flush of 64 volumes at once, p99", Unit: "ms", Ours: median(slow), Peer: "64 plain files", Theirs: median(plainSlow)}, 2)
	return nil
}

// flushAll writes a new block of each file and flushes it, so many times, and
// returns flushes a second and the slowest but one in a hundred, in ms.
func flushAll(files []writable, round, times int) (rate, p99 float64, err error) {
	p := make([]byte, blockstore.BlockSize)
	pattern(p, uint64(round))
	n := len(files) * times
	var took []float64
	total, err := timed(func() (err error) {
		took, err = parallel(n, len(files), func(i int) error {
			f := files[i%len(files)]
			block := int64(round*times+i/len(files)) * 37 % (writeSpan / blockstore.BlockSize)
			if err := f.write(p, block*blockstore.BlockSize); err != nil {
				return err
			}
			return f.flush()
		})
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return float64(n) / total * 1000, quantile(took, 0.99), nil
}
