package main

import (
	"context"
	"fmt"
	"os"

	"goldstream/blockstore"
)

// cloneCosts is what one clone takes of what can be counted exactly.
type cloneCosts struct {
	batches  float64 // of metadata
	logBytes float64 // of its write-ahead log
	calls    float64 // system calls that read or write
	written  float64 // bytes that they write
}

// cloneCounts clones images of all kinds and counts: whatever their size, their
// extents and the snapshots below them, a clone is the same work. Times say
// less: they differ by what the disk does meanwhile.
func (b *bars) cloneCounts(ctx context.Context) error {
	small, err := b.countClones(ctx, "small", 1)
	if err != nil {
		return err
	}
	const peer = "of a 1 GiB image"
	b.atMost(line{What: "metadata batches of a clone", Unit: "", Ours: small.batches}, 1)
	for i, k := range []struct{ what, image string }{
		{"64 TiB image", "huge"},
		{fmt.Sprintf("image of %d extents", b.extents), "many"},
		{fmt.Sprintf("image %d snapshots deep", b.rounds(1000, 50)), "deep"},
	} {
		c, err := b.countClones(ctx, k.image, 2+i)
		if err != nil {
			return err
		}
		b.within(line{What: "clone, " + k.what + ": metadata batches", Unit: "", Ours: c.batches, Peer: peer, Theirs: small.batches}, 1)
		b.within(line{What: "clone, " + k.what + ": bytes of the log", Unit: "B", Ours: c.logBytes, Peer: peer, Theirs: small.logBytes}, 1.05)
		b.within(line{What: "clone, " + k.what + ": calls that read or write", Unit: "", Ours: c.calls, Peer: peer, Theirs: small.calls}, 1.05)
		b.within(line{What: "clone, " + k.what + ": bytes written", Unit: "B", Ours: c.written, Peer: peer, Theirs: small.written}, 1.05)
	}
	return nil
}

// countClones clones an image many times and counts what ten clones take, in the
// middle: now and then the log grows by a step, or a table is written. Names have
// the same length, as digits of the records do not.
func (b *bars) countClones(ctx context.Context, image string, kind int) (cloneCosts, error) {
	const each = 10
	var batches, logBytes, calls, written []float64
	for i := range b.rounds(100, 20) {
		before, err := b.counters(ctx)
		if err != nil {
			return before, err
		}
		for j := range each {
			req := blockstore.CloneRequest{Name: fmt.Sprintf("counted-%d-%06d", kind, i*each+j), Image: image}
			if _, err := b.s.CreateVolume(ctx, req); err != nil {
				return before, err
			}
		}
		after, err := b.counters(ctx)
		if err != nil {
			return after, err
		}
		batches = append(batches, (after.batches-before.batches)/each)
		logBytes = append(logBytes, (after.logBytes-before.logBytes)/each)
		calls = append(calls, (after.calls-before.calls)/each)
		written = append(written, (after.written-before.written)/each)
	}
	return cloneCosts{median(batches), median(logBytes), median(calls), median(written)}, nil
}

// counters are the totals of this process and of the store.
func (b *bars) counters(ctx context.Context) (c cloneCosts, err error) {
	st, err := b.s.Stats(ctx)
	if err != nil {
		return c, err
	}
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return c, err
	}
	var rchar, wchar, syscr, syscw int64
	if _, err := fmt.Sscanf(string(text), "rchar: %d\nwchar: %d\nsyscr: %d\nsyscw: %d\n", &rchar, &wchar, &syscr, &syscw); err != nil {
		return c, fmt.Errorf("/proc/self/io: %w", err)
	}
	return cloneCosts{float64(st.MetadataBatches), float64(st.Pebble.LogBytes), float64(syscr + syscw), float64(wchar)}, nil
}
