package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"goldstream/blockstore"
)

// snapshots takes snapshots of a volume under 64 MiB/s of writes. Of each, the
// slowest write counts that was under way meanwhile.
func (b *bars) snapshots(ctx context.Context) error {
	v, err := b.newVolume(ctx, "busy", writeSpan)
	if err != nil {
		return err
	}
	defer v.d.Close()
	w := startWriter(v)
	defer w.stop()
	n := b.rounds(100, 20)
	time.Sleep(time.Second)
	start := time.Now()
	time.Sleep(time.Duration(b.rounds(5, 2)) * time.Second)
	quiet := time.Since(start)
	var spans []span
	for i := range n {
		at := time.Now()
		if _, err := b.s.CreateSnapshot(ctx, "busy", blockstore.SnapshotRequest{Name: fmt.Sprint(i)}); err != nil {
			return err
		}
		spans = append(spans, span{at, time.Now()})
		time.Sleep(50 * time.Millisecond)
	}
	writes, err := w.stop()
	if err != nil {
		return err
	}
	var before, slowest []float64
	for _, x := range writes {
		if x.from.After(start) && x.to.Before(start.Add(quiet)) {
			before = append(before, x.ms())
		}
	}
	for _, s := range spans {
		worst := 0.0
		for _, x := range writes {
			if x.to.After(s.from) && x.from.Before(s.to) {
				worst = max(worst, x.ms())
			}
		}
		slowest = append(slowest, worst)
	}
	usual := median(before)
	b.atMost(line{What: "snapshot under 64 MiB/s: added to the slowest write meanwhile, p99", Unit: "ms", Ours: quantile(slowest, 0.99) - usual}, 50)
	b.report.add(line{What: "the same, p50", Unit: "ms", Ours: median(slowest) - usual, Peer: "writes without snapshots, p99", Theirs: quantile(before, 0.99)})
	return nil
}

type span struct{ from, to time.Time }

func (s span) ms() float64 { return ms(s.to.Sub(s.from)) }

// pacedWriter writes 64 KiB each millisecond.
type pacedWriter struct {
	quit   chan struct{}
	done   chan struct{}
	writes []span
	err    error
}

func startWriter(v *volumeFile) *pacedWriter {
	w := &pacedWriter{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		p := make([]byte, 64<<10)
		pattern(p, 1)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for w.err == nil {
			select {
			case <-w.quit:
				return
			case <-tick.C:
			}
			from := time.Now()
			w.err = v.write(p, rand.Int64N(writeSpan/int64(len(p)))*int64(len(p)))
			w.writes = append(w.writes, span{from, time.Now()})
		}
	}()
	return w
}

func (w *pacedWriter) stop() ([]span, error) {
	select {
	case <-w.quit:
	default:
		close(w.quit)
	}
	<-w.done
	if len(w.writes) == 0 {
		return nil, errors.Join(w.err, errors.New("nothing was written"))
	}
	return w.writes, w.err
}
