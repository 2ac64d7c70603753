package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The crash test. A daemon is killed again and again under writers that note
// every acknowledgement. After each restart every 4 KiB block must read as the
// last acknowledged request left it, flushed or not, or as the one request left
// it that was under way on it when the kill came.
//
// Each writer has a stretch of the disk to itself, so at most one request is
// under way on a block, and several on the disk.

var (
	killsFlag = flag.Int("kills", 0, "kills of the crash test (default 10 with -short, else 100; or GOLDSTREAM_KILLS)")
	seedFlag  = flag.Uint64("seed", 0, "seed of the crash test (default: random)")
)

const (
	killDisk    = 16 << 20
	killBlock   = 4096
	killWriters = 8
	killStretch = killDisk / killWriters
)

func kills(t *testing.T) int {
	if s := os.Getenv("GOLDSTREAM_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		return n
	}
	switch {
	case *killsFlag > 0:
		return *killsFlag
	case testing.Short():
		return 10
	}
	return 100
}

func TestKill(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	n := kills(t)
	t.Logf("%d kills, -seed %d", n, seed)
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	k := &killTest{house: h, model: rawDisk(t, raw, killDisk*3/4, seed)}
	k.model = append(k.model, make([]byte, killDisk-len(k.model))...)
	h.must("image", "import", "golden", raw)
	h.must("volume", "create", "victim", "--image", "golden", "--size", strconv.Itoa(killDisk))
	start := time.Now()
	for i := range n {
		k.cycle(i, seed)
		if i%4 == 0 {
			k.clean()
		}
	}
	s := h.serve()
	k.check(s, "after the last kill")
	s.stop()
	s = h.serve()
	k.check(s, "after a stop in order")
	s.stop()
	k.clean()
	t.Logf("%d kills in %v: %d acknowledged requests, %d under way when the kill came, %d of their blocks new",
		n, time.Since(start).Round(time.Millisecond), k.acked, k.lost, k.landed)
	require.Positive(t, k.acked)
}

type killTest struct {
	*house
	model   []byte // what every acknowledged request left
	pending []killOp
	history [][]killOp // of the last cycle, by writer; the last one is the one under way
	acked   int
	lost    int
	landed  int
}

// killOp is one request, and what its range holds once it is done.
type killOp struct {
	cmd, flags uint16
	off        int64
	data       []byte // of the range
}

// clean has goldstream check find nothing in what the last kill left.
func (k *killTest) clean() {
	k.tb.Helper()
	require.Contains(k.tb, k.must("check"), "0 damaged, 0 warnings", "after a kill")
}

// cycle starts the daemon, checks what the last kill left, writes and kills.
func (k *killTest) cycle(i int, seed uint64) {
	s := k.serve()
	k.check(s, fmt.Sprintf("after kill %d", i))
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	var conns []*nbdConn
	for range 2 {
		c, err := dialNBD(s.socket, "victim")
		require.NoError(k.tb, err)
		require.EqualValues(k.tb, killDisk, c.size)
		conns = append(conns, c)
	}
	writers := make([]*killWriter, killWriters)
	var wg sync.WaitGroup
	for j := range writers {
		w := &killWriter{
			r: rand.New(rand.NewPCG(seed, uint64(i)<<8|uint64(j)+1<<40)), conn: conns[j%len(conns)],
			base: int64(j) * killStretch, disk: k.model[j*killStretch : (j+1)*killStretch],
		}
		writers[j] = w
		wg.Go(w.run)
	}
	time.Sleep(time.Duration(r.IntN(120_000)) * time.Microsecond)
	s.kill()
	wg.Wait()
	for _, c := range conns {
		c.close()
	}
	k.history = nil
	for j, w := range writers {
		require.ErrorIs(k.tb, w.err, errLost, "kill %d, writer %d", i, j)
		k.history = append(k.history, w.done)
		k.pending = append(k.pending, w.last)
		k.acked += w.acked
		k.lost++
	}
}

// check reads the whole volume and settles what was under way.
func (k *killTest) check(s *service, when string) {
	k.tb.Helper()
	c, err := dialNBD(s.socket, "victim")
	require.NoError(k.tb, err, when)
	defer c.close()
	got := make([]byte, killDisk)
	const piece = 1 << 20
	for off := 0; off < killDisk; off += piece {
		require.NoError(k.tb, c.do(nbdRead, 0, int64(off), piece, got[off:off+piece]), when)
	}
	for _, op := range k.pending {
		k.settle(op, got)
	}
	k.pending = nil
	for off := 0; off < killDisk; off += killBlock {
		if !bytes.Equal(got[off:off+killBlock], k.model[off:off+killBlock]) {
			k.tb.Fatalf("%s: the block at %d is not what was acknowledged: %s", when, off, k.looksLike(got[off:off+killBlock], off))
		}
	}
}

// settle takes over the blocks that a request under way has changed.
func (k *killTest) settle(op killOp, got []byte) {
	end := op.off + int64(len(op.data))
	for b := op.off / killBlock * killBlock; b < end; b += killBlock {
		block := bytes.Clone(k.model[b : b+killBlock])
		from, to := max(b, op.off), min(b+killBlock, end)
		copy(block[from-b:], op.data[from-op.off:to-op.off])
		if !bytes.Equal(block, k.model[b:b+killBlock]) && bytes.Equal(block, got[b:b+killBlock]) {
			copy(k.model[b:], block)
			k.landed++
		}
	}
}

// looksLike tells what stands in a block that is not what it should be: of
// which bytes that is true, and which requests of the last cycle touched them.
func (k *killTest) looksLike(block []byte, off int) string {
	want := k.model[off : off+killBlock]
	first, last, wrong := -1, 0, 0
	for i, x := range block {
		if x != want[i] {
			if first < 0 {
				first = i
			}
			last, wrong = i, wrong+1
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d of its bytes differ, from %d to %d; they begin %x and should begin %x; all zero: %v\n", wrong, first, last,
		block[first:min(first+16, killBlock)], want[first:min(first+16, killBlock)], bytes.Equal(block, make([]byte, killBlock)))
	ops := k.history[off/killStretch]
	for i, op := range ops {
		from, to := max(int(op.off), off), min(int(op.off)+len(op.data), off+killBlock)
		if from >= to {
			continue
		}
		fmt.Fprintf(&b, "request %d of %d: command %d, flags %d, [%d, %d), of the block [%d, %d): %x...", i+1, len(ops), op.cmd, op.flags,
			op.off, op.off+int64(len(op.data)), from-off, to-off, op.data[from-int(op.off):min(to-int(op.off), from-int(op.off)+16)])
		if f, l := max(first+off, from), min(last+1+off, to); f < l {
			fmt.Fprintf(&b, " the differing bytes are its own: %v", bytes.Equal(block[f-off:l-off], op.data[f-int(op.off):l-int(op.off)]))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// killWriter has one request after the other under way on its stretch.
type killWriter struct {
	r     *rand.Rand
	conn  *nbdConn
	base  int64
	disk  []byte // its part of the model
	last  killOp
	done  []killOp // since the daemon's start, with the last
	acked int
	err   error
}

func (w *killWriter) run() {
	for w.err == nil {
		w.last = w.next()
		w.done = append(w.done, w.last)
		if w.err = w.send(w.last); w.err == nil {
			copy(w.disk[w.last.off-w.base:], w.last.data)
			w.acked++
		}
		if w.err == nil && w.r.IntN(64) == 0 {
			if err := w.conn.do(nbdFlush, 0, 0, 0, nil); !errors.Is(err, errLost) {
				w.err = err
			}
		}
	}
}

func (w *killWriter) send(op killOp) error {
	if op.cmd == nbdWrite {
		return w.conn.do(op.cmd, op.flags, op.off, len(op.data), op.data)
	}
	return w.conn.do(op.cmd, op.flags, op.off, len(op.data), nil)
}

func (w *killWriter) next() killOp {
	op := killOp{cmd: nbdWrite}
	off, n := w.place()
	op.off, op.data = w.base+off, make([]byte, n)
	switch x := w.r.IntN(16); {
	case x < 11:
		fillRandom(w.r, op.data)
	case x < 13:
		op.cmd = nbdZeroes
		if w.r.IntN(2) == 0 {
			op.flags = nbdFlagNoHole
		}
	default:
		op.cmd = nbdTrim
		w.trimInward(&op)
	}
	if w.r.IntN(32) == 0 {
		op.flags |= nbdFlagFUA
	}
	return op
}

// place picks a range of 4 to 64 KiB, half of the time of whole blocks.
func (w *killWriter) place() (off int64, n int) {
	n = (1 + w.r.IntN(16)) * killBlock
	off = w.r.Int64N(int64(killStretch-n)/killBlock+1) * killBlock
	if w.r.IntN(2) == 0 {
		return off, n
	}
	cut := int64(w.r.IntN(killBlock))
	return off + cut, max(n-int(cut)-w.r.IntN(killBlock), 1)
}

// trimInward makes a trim of whole blocks: what a trim does to parts of one is
// the server's choice.
func (w *killWriter) trimInward(op *killOp) {
	op.off = op.off / killBlock * killBlock
	n := max(len(op.data)/killBlock, 1) * killBlock
	op.data = make([]byte, n)
}
