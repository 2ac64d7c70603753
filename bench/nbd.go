package main

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// nbd compares the servers over loopback TCP. All serve the same full disk
// from the page cache: we a clone of it with half of its blocks overwritten,
// nbdkit and qemu-nbd a plain file, and qemu-nbd a qcow2 overlay too.
func (r *run) nbd(ctx context.Context) error {
	note("nbd: preparing disks of %d MiB", r.diskSize()>>20)
	f, err := r.startFleet(ctx)
	defer f.stop()
	if err != nil {
		return err
	}
	for _, w := range workloads {
		if !strings.Contains(w.what, r.part) {
			continue
		}
		note("nbd: %s", w.what)
		if err := r.compare(ctx, f, w); err != nil {
			return err
		}
	}
	return nil
}

// diskSize is the size of the disks that are served, in bytes.
func (r *run) diskSize() int64 {
	if r.short {
		return 256 << 20
	}
	return 1 << 30
}

// compare runs a workload against all servers in interleaved rounds.
func (r *run) compare(ctx context.Context, f *fleet, w workload) error {
	rounds, seconds := 5, 1.5
	if r.short {
		rounds, seconds = 2, 1.0
	}
	peers := f.peersOf(w, r.short)
	if err := r.ready(ctx, f, w, peers); err != nil {
		return err
	}
	rates, cpus := map[string][]float64{}, map[string][]float64{}
	for round := range rounds {
		export, err := r.exportFor(ctx, f, w, round)
		if err != nil {
			return err
		}
		for _, s := range append([]*server{f.ours}, peers...) {
			if w.writes() {
				unix.Sync() // what others have written must not be this one's burden
			}
			name := ""
			if s == f.ours {
				name = export
			}
			v, err := r.measure(ctx, s, name, w, seconds)
			if err != nil {
				return err
			}
			rates[s.name], cpus[s.name] = append(rates[s.name], v.rate), append(cpus[s.name], v.cpuPerOp)
		}
	}
	for _, s := range peers {
		r.addRow(w, w.what, w.unit, s.name, false, rates)
		r.addRow(w, w.what+", server CPU", "us/op", s.name, true, cpus)
	}
	return nil
}

// addRow reports the medians of ours and of a peer's.
func (r *run) addRow(w workload, what, unit, peer string, cpu bool, values map[string][]float64) {
	l := line{What: what, Unit: unit, Ours: median(values[ourName]), Peer: peer, Theirs: median(values[peer])}
	if b, ok := w.barOf(peer, cpu); ok {
		l.Bar, l.Missed = b.String(), b.missed(l.Ours/l.Theirs)
	}
	r.report.add(l)
}

// ready writes what a workload wants to have been written before.
func (r *run) ready(ctx context.Context, f *fleet, w workload, peers []*server) error {
	if w.span == 0 {
		return nil
	}
	fill := []string{"--rw=write", "--bs=1m", fmt.Sprintf("--size=%d", w.span)}
	for _, s := range peers {
		if err := r.overwrite(ctx, s, "", fill...); err != nil {
			return err
		}
	}
	return r.overwrite(ctx, f.ours, w.disk, fill...)
}

// exportFor names our volume for a round, which it may have to make.
func (r *run) exportFor(ctx context.Context, f *fleet, w workload, round int) (string, error) {
	if w.disk != diskFresh {
		return w.disk, nil
	}
	name := fmt.Sprintf("%s-%d", diskFresh, round)
	return name, r.makeVolume(ctx, f, name, r.everyOther())
}
