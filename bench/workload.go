package main

import "fmt"

// workload is one fio job over NBD, and what is asked of us against peers.
type workload struct {
	what  string
	unit  string // "IOPS" or "MB/s"
	rw    string
	bs    string
	depth int
	jobs  int    // connections
	span  int64  // bytes of the disk from its start; 0: all
	sync  int    // flush after as many writes; 0: never
	disk  string // which of our volumes
	bars  []bar
}

// bar is the least (or most) that our figure may be, as a multiple of a peer's.
type bar struct {
	peer string
	cpu  bool // of the server's CPU time for each operation
	most bool
	x    float64
	goal float64 // what is aimed at; 0 if no more than x
}

func (b bar) String() string {
	sign := "≥"
	if b.most {
		sign = "≤"
	}
	if b.goal != 0 {
		return fmt.Sprintf("%s %.2fx, goal %.1fx", sign, b.x, b.goal)
	}
	return fmt.Sprintf("%s %.2fx", sign, b.x)
}

func (b bar) missed(ratio float64) bool {
	if b.most {
		return ratio > b.x
	}
	return ratio < b.x
}

// barOf returns the bar against a peer, for a rate or for CPU time.
func (w workload) barOf(peer string, cpu bool) (bar, bool) {
	for _, b := range w.bars {
		if b.peer == peer && b.cpu == cpu {
			return b, true
		}
	}
	return bar{}, false
}

// writes tells whether the job leaves dirty pages.
func (w workload) writes() bool { return w.rw == "randwrite" || w.rw == "write" }

// Our volumes. Each is a clone of the golden image, and what it was made for
// was written over it.
const (
	diskHalf      = "half"      // every other MiB
	diskScattered = "scattered" // half of all 4 KiB blocks, at random
	diskFresh     = "fresh"     // as half, but made anew for each round
)

const (
	peerKit   = "nbdkit file"
	peerRaw   = "qemu-nbd raw"
	peerQcow2 = "qemu-nbd qcow2"
)

func atLeast(peer string, x float64) bar { return bar{peer: peer, x: x} }

var workloads = []workload{
	{what: "4 KiB random read, depth 32", rw: "randread", bs: "4k", depth: 32, jobs: 1, unit: "IOPS", disk: diskHalf,
		bars: []bar{{peer: peerKit, x: 1.1, goal: 1.3}, atLeast(peerRaw, 2), {peer: peerKit, cpu: true, most: true, x: 0.75}}},
	{what: "4 KiB random read, depth 1", rw: "randread", bs: "4k", depth: 1, jobs: 1, unit: "IOPS", disk: diskHalf,
		bars: []bar{atLeast(peerKit, 0.95)}},
	{what: "4 KiB random read, depth 32, 4 connections", rw: "randread", bs: "4k", depth: 32, jobs: 4, unit: "IOPS", disk: diskHalf,
		bars: []bar{atLeast(peerKit, 1.2)}},
	{what: "128 KiB sequential read, depth 8", rw: "read", bs: "128k", depth: 8, jobs: 1, unit: "MB/s", disk: diskHalf,
		bars: []bar{atLeast(peerKit, 1.5)}},
	{what: "128 KiB sequential read, half of the 4 KiB blocks overwritten at random", rw: "read", bs: "128k", depth: 8, jobs: 1, unit: "MB/s", disk: diskScattered,
		bars: []bar{atLeast(peerKit, 0.8)}},
	{what: "4 KiB random write, depth 32", rw: "randwrite", bs: "4k", depth: 32, jobs: 1, unit: "IOPS", disk: diskFresh,
		bars: []bar{atLeast(peerKit, 1)}},
	{what: "4 KiB random write to blocks written before, fsync every 32", rw: "randwrite", bs: "4k", depth: 32, jobs: 1, unit: "IOPS", disk: diskHalf, span: writtenSpan, sync: 32,
		bars: []bar{atLeast(peerKit, 1)}},
}

// writtenSpan is how much of each disk, from its start, is written before the
// workload that writes it again; the volumes' own blocks are scattered else.
const writtenSpan = 256 << 20
