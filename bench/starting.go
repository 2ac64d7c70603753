package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"goldstream/blockstore"
)

// startBar is when a server has to answer again after its start, in ms: its
// clients' requests wait for it.
const startBar = 1000

// starting measures from the start of the daemon to the first NBD greeting,
// with many volumes in the store.
func (r *run) starting(ctx context.Context) error {
	volumes, rounds := 10_000, 5
	if r.short {
		volumes, rounds = 1_000, 3
	}
	note("start: a store with %d volumes", volumes)
	data := filepath.Join(r.dir, "many")
	if err := makeVolumes(ctx, filepath.Join(data, "blocks"), volumes); err != nil {
		return err
	}
	var times []float64
	for range rounds {
		t, err := r.startOnce(ctx, data)
		if err != nil {
			return err
		}
		times = append(times, t)
	}
	p50 := median(times)
	r.report.add(line{What: fmt.Sprintf("start with %d volumes, to the first greeting, p50", volumes), Unit: "ms", Ours: p50,
		Bar: fmt.Sprintf("≤ %d ms", startBar), Missed: p50 > startBar})
	return nil
}

func makeVolumes(ctx context.Context, dir string, n int) error {
	s, err := blockstore.Open(dir, blockstore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer s.Close()
	for i := range n {
		if _, err := s.CreateVolume(ctx, blockstore.CloneRequest{Name: fmt.Sprintf("server-%05d", i), Size: 1 << 30}); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) startOnce(ctx context.Context, data string) (ms float64, err error) {
	start := time.Now()
	s, err := startServer(ctx, r.dir, "goldstream start", func(port string) []string {
		return []string{r.binary, "serve", "--data", data, "--nbd", "127.0.0.1:" + port}
	})
	if err != nil {
		return 0, err
	}
	defer s.stop()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_, err = io.ReadFull(c, make([]byte, 18))
	return float64(time.Since(start).Microseconds()) / 1000, err
}
