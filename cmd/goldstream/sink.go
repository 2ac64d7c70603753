package main

import (
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

// holeSink writes to a new file of full length and leaves zeros out.
type holeSink struct {
	f  *os.File
	at int64
}

func (h *holeSink) Write(p []byte) (int, error) {
	n, err := h.f.WriteAt(p, h.at)
	h.at += int64(n)
	return n, err
}

func (h *holeSink) Zero(n int64) error {
	h.at += n
	return nil
}

// zstdSink compresses into one frame that tells its size.
type zstdSink struct {
	*v1.FlatSink
	w io.Writer
	z *zstd.Encoder
}

func (s *zstdSink) start(size int64) (err error) {
	if s.z, err = zstd.NewWriter(nil); err != nil {
		return err
	}
	s.z.ResetContentSize(s.w, size)
	s.FlatSink = v1.NewFlatSink(s.z)
	return nil
}

// end closes the frame, or after an error leaves it open.
func (s *zstdSink) end(err error) error {
	if s.z == nil {
		return err
	}
	if err != nil {
		s.z.Reset(io.Discard)
		s.z.Close()
		return err
	}
	return s.z.Close()
}

// countedSink reports progress.
type countedSink struct {
	v1.Sink
	size, done int64
	show       v1.ProgressFunc
}

func (e exporting) counted(s v1.Sink, size int64) v1.Sink {
	return &countedSink{Sink: s, size: size, show: e.meter.show}
}

func (c *countedSink) Write(p []byte) (int, error) {
	n, err := c.Sink.Write(p)
	c.add(int64(n))
	return n, err
}

func (c *countedSink) Zero(n int64) error {
	err := c.Sink.Zero(n)
	c.add(n)
	return err
}

func (c *countedSink) add(n int64) {
	c.done += n
	c.show(blockstore.Progress{Stage: "export", Done: c.done, Total: c.size, Disk: c.done})
}
