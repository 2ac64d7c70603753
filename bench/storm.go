package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"goldstream/blockstore"
	"goldstream/nbd"

	"golang.org/x/sync/errgroup"
)

// storm has a thousand servers boot at once: each has a clone of one golden
// image and a connection of its own, and reads what a Debian reads as it boots,
// one request after the other. The image is not in memory when they begin.
func (r *run) storm(ctx context.Context) error {
	clients := 1000
	if r.short {
		clients = 100
	}
	note("storm: %d servers boot from one image", clients)
	trace, err := parseTrace(bootReads)
	if err != nil {
		return err
	}
	data := filepath.Join(r.dir, "storm")
	if err := r.makeStormDisks(ctx, data, trace, clients); err != nil {
		return err
	}
	files, err := dataFiles(data)
	if err == nil {
		err = dropCache(files)
	}
	if err != nil {
		return err
	}
	s, err := startServer(ctx, r.dir, "goldstream-storm", func(port string) []string {
		return []string{r.binary, "serve", "--data", data, "--nbd", "127.0.0.1:" + port}
	})
	if err != nil {
		return err
	}
	defer s.stop()
	before, err := resident(files, traceSize)
	if err != nil {
		return err
	}
	conns, err := r.connectStorm(ctx, s, clients)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return err
	}
	took, err := r.replay(ctx, s, conns, trace)
	if err != nil {
		return err
	}
	r.stormTimes(took, trace)
	return r.stormCosts(s, files, before)
}

// makeStormDisks makes a store with the golden image and its clones.
func (r *run) makeStormDisks(ctx context.Context, data string, trace []read, clones int) error {
	image := filepath.Join(r.dir, "trace.raw")
	if err := makeTraceImage(image, trace); err != nil {
		return err
	}
	if err := command(ctx, r.binary, "--data", data, "image", "import", "golden", image); err != nil {
		return err
	}
	s, err := blockstore.Open(filepath.Join(data, "blocks"), blockstore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer s.Close()
	for i := range clones {
		if _, err := s.CreateVolume(ctx, blockstore.CloneRequest{Name: cloneName(i), Image: "golden"}); err != nil {
			return err
		}
	}
	return nil
}

func cloneName(i int) string { return fmt.Sprintf("server-%d", i) }

// connectStorm connects everybody, and reports what a connection costs that
// does nothing.
func (r *run) connectStorm(ctx context.Context, s *server, clients int) (conns []*nbd.Client, err error) {
	before, err := s.number("status", "VmRSS")
	if err != nil {
		return nil, err
	}
	for i := range clients {
		c, err := nbd.Dial(ctx, "tcp", s.address, cloneName(i))
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	after, err := s.number("status", "VmRSS")
	if err != nil {
		return conns, err
	}
	each := float64(after-before) / float64(clients)
	r.report.add(line{What: "storm: memory of an idle connection, its volume open", Unit: "KiB", Ours: each,
		Bar: "≤ 32 KiB", Missed: each > 32})
	return conns, nil
}

// replay has every connection read the trace, and returns how long each took,
// in ms. All begin at the same time.
func (r *run) replay(ctx context.Context, s *server, conns []*nbd.Client, trace []read) ([]float64, error) {
	took := make([]float64, len(conns))
	g, ctx := errgroup.WithContext(ctx)
	start := make(chan struct{})
	for i, c := range conns {
		g.Go(func() (err error) {
			<-start
			took[i], err = timed(func() error { return replayOne(ctx, c, trace) })
			if err != nil {
				return fmt.Errorf("%s: %w", cloneName(i), err)
			}
			return nil
		})
	}
	cpu, began := s.cpu(), time.Now()
	close(start)
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := float64(len(conns) * len(trace))
	r.report.add(line{What: "storm: requests in all", Unit: "IOPS", Ours: all / time.Since(began).Seconds()})
	r.report.add(line{What: "storm: server CPU", Unit: "us/op", Ours: (s.cpu() - cpu) / all})
	return took, nil
}

func replayOne(ctx context.Context, c *nbd.Client, trace []read) error {
	p := make([]byte, 0, 128<<10)
	for _, t := range trace {
		p = slices.Grow(p[:0], t.length)[:t.length]
		if _, err := c.ReadAt(ctx, p, t.off); err != nil {
			return err
		}
		if err := checkRead(p, t.off); err != nil {
			return err
		}
	}
	return nil
}

// stormTimes reports how long the clients took. Any error has ended the run.
func (r *run) stormTimes(took []float64, trace []read) {
	bytes := 0
	for _, t := range trace {
		bytes += t.length
	}
	slowest, mid := slices.Max(took), median(took)
	r.report.add(line{What: fmt.Sprintf("storm: %d boots at once, %d MB each, median", len(took), bytes/1e6), Unit: "s", Ours: mid / 1000})
	r.report.add(line{What: "storm: slowest client, in medians", Unit: "", Ours: slowest / mid, Bar: "≤ 1.50", Missed: slowest/mid > 1.5})
}

// stormCosts reports what the server took.
func (r *run) stormCosts(s *server, files []string, before int64) error {
	peak, err1 := s.number("status", "VmHWM")
	disk, err2 := s.number("io", "read_bytes")
	after, err3 := resident(files, traceSize)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	mib := float64(peak) / 1024
	r.report.add(line{What: "storm: resident memory, peak", Unit: "MiB", Ours: mib, Bar: "≤ 512 MiB", Missed: mib > 512})
	// What came into memory was read once if no more was read than came. The
	// metadata is in memory from before.
	times := float64(disk) / float64(max(1, after-before))
	r.report.add(line{What: "storm: how often each golden byte was read from the disk", Unit: "times", Ours: times,
		Bar: "≤ 1.05, no error", Missed: times > 1.05})
	return nil
}
