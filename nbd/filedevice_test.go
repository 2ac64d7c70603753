package nbd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fileDevice is a Device on a sparse file, for interop tests and benchmarks.
type fileDevice struct {
	f        *os.File
	size     int64
	readOnly bool
	closed   atomic.Int64
}

func newFileDevice(t testing.TB, size int64) *fileDevice {
	f, err := os.CreateTemp(t.TempDir(), "disk")
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	require.NoError(t, f.Truncate(size))
	return &fileDevice{f: f, size: size}
}

func (d *fileDevice) Size() int64    { return d.size }
func (d *fileDevice) ReadOnly() bool { return d.readOnly }

func (d *fileDevice) ReadAt(_ context.Context, p []byte, off int64) error {
	_, err := d.f.ReadAt(p, off)
	return err
}

// tryVectors lets TryReadAt call preadv2 without an allocation.
var tryVectors = sync.Pool{New: func() any { v := make([][]byte, 1); return &v }}

func (d *fileDevice) TryReadAt(p []byte, off int64) bool {
	v := tryVectors.Get().(*[][]byte)
	(*v)[0] = p
	n, err := unix.Preadv2(int(d.f.Fd()), *v, off, unix.RWF_NOWAIT)
	(*v)[0] = nil
	tryVectors.Put(v)
	return err == nil && n == len(p)
}

func (d *fileDevice) WriteAt(_ context.Context, p []byte, off int64, fua bool) error {
	if _, err := d.f.WriteAt(p, off); err != nil || !fua {
		return err
	}
	return unix.Fdatasync(int(d.f.Fd()))
}

func (d *fileDevice) Flush(context.Context) error { return unix.Fdatasync(int(d.f.Fd())) }

func (d *fileDevice) Trim(ctx context.Context, off, length int64, fua bool) error {
	return d.WriteZeroes(ctx, off, length, false, fua)
}

func (d *fileDevice) WriteZeroes(ctx context.Context, off, length int64, noHole, fua bool) error {
	mode := uint32(unix.FALLOC_FL_KEEP_SIZE)
	if noHole {
		mode |= unix.FALLOC_FL_ZERO_RANGE
	} else {
		mode |= unix.FALLOC_FL_PUNCH_HOLE
	}
	if err := unix.Fallocate(int(d.f.Fd()), mode, off, length); err != nil || !fua {
		return err
	}
	return d.Flush(ctx)
}

func (d *fileDevice) Prefetch(_ context.Context, off, length int64) error {
	return unix.Fadvise(int(d.f.Fd()), off, length, unix.FADV_WILLNEED)
}

func (d *fileDevice) Extents(_ context.Context, off, length int64, yield func(int64, bool, bool) bool) error {
	for end := off + length; off < end; {
		data, err := unix.Seek(int(d.f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, syscall.ENXIO) {
			data, err = end, nil
		}
		if err != nil {
			return err
		}
		if data = min(data, end); data > off {
			if !yield(data-off, true, false) {
				return nil
			}
			off = data
			continue
		}
		hole, err := unix.Seek(int(d.f.Fd()), off, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if hole = min(hole, end); !yield(hole-off, false, true) {
			return nil
		}
		off = hole
	}
	return nil
}

func (d *fileDevice) Close() error {
	d.closed.Add(1)
	return nil
}

// exportMap is an Exports of fixed devices.
type exportMap map[string]Device

func (m exportMap) Open(_ context.Context, name string) (Device, error) {
	if d := m[name]; d != nil {
		return d, nil
	}
	return nil, fs.ErrNotExist
}

func (m exportMap) List(context.Context) ([]ExportInfo, error) {
	var all []ExportInfo
	for name, d := range m {
		all = append(all, ExportInfo{Name: name, Size: d.Size(), ReadOnly: d.ReadOnly(), Description: "disk " + name})
	}
	return all, nil
}
