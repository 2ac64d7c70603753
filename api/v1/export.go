package v1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	exportPiece  = 1 << 20  // bytes read at once
	exportWindow = 64 << 20 // bytes of the disk whose extents are asked for at once
)

// cutError says that an answer cannot be completed.
type cutError struct{ err error }

func (c *cutError) Error() string { return c.err.Error() }
func (c *cutError) Unwrap() error { return c.err }

// export makes a handler that sends the disk that open opens. An error after
// the first byte can only break the answer off in the formats raw and zstd;
// sparse has a frame for it.
func (s *server) export(open func(*http.Request) (Disk, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		err := send(w, r, open)
		s.record(r, start, err)
		var cut *cutError
		if errors.As(err, &cut) {
			panic(http.ErrAbortHandler)
		}
		if err != nil {
			s.deadline(w)
			writeError(w, err)
		}
	}
}

func send(w http.ResponseWriter, r *http.Request, open func(*http.Request) (Disk, error)) error {
	if err := onlyQuery(r, "format"); err != nil {
		return err
	}
	write, err := exporter(r.URL.Query().Get("format"))
	if err != nil {
		return err
	}
	disk, err := open(r)
	if err != nil {
		return err
	}
	defer disk.Close()
	w.Header().Set(HeaderDiskSize, strconv.FormatInt(disk.Size(), 10))
	if err := write(r.Context(), &slowWriter{w: w, rc: http.NewResponseController(w)}, disk); err != nil {
		return &cutError{err: err}
	}
	return nil
}

type exportFunc func(context.Context, *slowWriter, Disk) error

func exporter(format string) (exportFunc, error) {
	switch format {
	case "", "raw":
		return exportRaw, nil
	case "zstd":
		return exportZstd, nil
	case "sparse":
		return exportSparse, nil
	}
	return nil, invalid(fmt.Sprintf("unknown format %q; there are raw, zstd and sparse", format))
}

func exportRaw(ctx context.Context, w *slowWriter, d Disk) error {
	w.w.Header().Set("Content-Type", TypeRaw)
	w.w.Header().Set("Content-Length", strconv.FormatInt(d.Size(), 10))
	return CopyDisk(ctx, d, NewFlatSink(w))
}

func exportZstd(ctx context.Context, w *slowWriter, d Disk) error {
	w.w.Header().Set("Content-Type", TypeZstd)
	return Compress(w, d.Size(), func(out io.Writer) error {
		return CopyDisk(ctx, d, NewFlatSink(out))
	})
}

// Compress passes what f writes, size bytes, to w as one zstd frame.
func Compress(w io.Writer, size int64, f func(io.Writer) error) error {
	z, err := zstd.NewWriter(nil)
	if err != nil {
		return err
	}
	z.ResetContentSize(w, size)
	if err := f(z); err != nil {
		z.Reset(io.Discard) // Close would make the torso a valid frame
		z.Close()
		return err
	}
	return z.Close()
}

func exportSparse(ctx context.Context, w *slowWriter, d Disk) error {
	w.w.Header().Set("Content-Type", TypeSparse)
	out := &sparseWriter{w: w}
	if err := CopyDisk(ctx, d, out); err != nil {
		// Both in vain where the client is what failed.
		_ = out.fail(ErrorOf(err))
		_ = w.rc.Flush()
		return err
	}
	return out.end(d.Size())
}

// CopyDisk passes the whole disk on to sink.
func CopyDisk(ctx context.Context, d Disk, sink Sink) error {
	buf := make([]byte, exportPiece)
	for off, size := int64(0), d.Size(); off < size; off += exportWindow {
		runs, err := runsOf(ctx, d, off, min(exportWindow, size-off))
		if err != nil {
			return err
		}
		for _, run := range runs {
			if err := run.copy(ctx, d, sink, buf); err != nil {
				return err
			}
		}
	}
	return nil
}

// diskRun is a stretch that is all zero or not known to be.
type diskRun struct {
	off, length int64
	zero        bool
}

// runsOf collects the runs first and lets go of the disk's map before anything
// is read; neighbours of one kind are joined.
func runsOf(ctx context.Context, d Disk, off, length int64) ([]diskRun, error) {
	var runs []diskRun
	err := d.Extents(ctx, off, length, func(n int64, zero, _ bool) bool {
		if k := len(runs) - 1; k >= 0 && runs[k].zero == zero {
			runs[k].length += n
		} else {
			runs = append(runs, diskRun{off: off, length: n, zero: zero})
		}
		off += n
		return true
	})
	return runs, err
}

func (run diskRun) copy(ctx context.Context, d Disk, sink Sink, buf []byte) error {
	if run.zero {
		return sink.Zero(run.length)
	}
	for run.length > 0 {
		p := buf[:min(run.length, int64(len(buf)))]
		if err := d.ReadAt(ctx, p, run.off); err != nil {
			return err
		}
		if _, err := sink.Write(p); err != nil {
			return err
		}
		run.off += int64(len(p))
		run.length -= int64(len(p))
	}
	return nil
}

// slowWriter gives the client a fresh deadline with every piece.
type slowWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s *slowWriter) Write(p []byte) (int, error) {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	return s.w.Write(p)
}

// FlatSink writes zeros out.
type FlatSink struct {
	io.Writer
	zeros []byte
}

// NewFlatSink returns a Sink for a w that knows no holes.
func NewFlatSink(w io.Writer) *FlatSink {
	return &FlatSink{Writer: w, zeros: make([]byte, 256<<10)}
}

// Zero writes n zeros.
func (f *FlatSink) Zero(n int64) error {
	for n > 0 {
		k, err := f.Write(f.zeros[:min(n, int64(len(f.zeros)))])
		if err != nil {
			return err
		}
		n -= int64(k)
	}
	return nil
}
