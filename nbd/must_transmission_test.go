package nbd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// What doc/proto.md says that a server must do, in transmission; the table in
// docs/nbd.md says which test has what.

// half fails in the middle of a read, some of which is already there.
type half struct{ *memDevice }

func (half) TryReadAt([]byte, int64) bool { return false }

func (half) ReadAt(_ context.Context, p []byte, _ int64) error {
	for i := range p[:len(p)/2] {
		p[i] = 0xee
	}
	return errors.New("the disk broke")
}

// After a header without an error nothing can be taken back. So the data is
// whole before there is a header: a failed read sends an error and no data,
// simple or structured, and the connection goes on.
func TestAFailedReadSendsNoData(t *testing.T) {
	_, path, _ := startServer(t, exportMap{"disk": half{newMemDevice(1 << 20)}}, Options{})
	for _, structured := range []bool{false, true} {
		w := ready(t, path, structured)
		for cookie, n := range []uint32{1, 4096, 300000} {
			w.send(requestBytes(cmdRead, 0, uint64(cookie), 0, n), requestBytes(cmdWrite, 0, 99, 0, 1), []byte{1})
			replies := map[uint64]bool{}
			for range 2 {
				head := w.read(16) // both headers have magic and cookie in it
				c := be.Uint64(head[8:])
				replies[c] = true
				if be.Uint32(head) == magicSimple {
					require.Equal(t, c != 99, be.Uint32(head[4:]) == errnoIO)
					continue
				}
				require.EqualValues(t, magicChunk, be.Uint32(head))
				require.EqualValues(t, chunkFlagDone, be.Uint16(head[4:]))
				require.EqualValues(t, chunkError, be.Uint16(head[6:]))
				require.NotContains(t, string(w.read(int(be.Uint32(w.read(4))))), "\xee")
			}
			require.Equal(t, map[uint64]bool{uint64(cookie): true, 99: true}, replies)
		}
	}
}

// A READ is answered by one content chunk for exactly its range, so that no two
// overlap, nothing is missing, and DF has what it asks for.
func TestReadIsOneChunk(t *testing.T) {
	for _, cached := range []bool{false, true} {
		d := newMemDevice(1 << 20)
		d.cached = cached
		_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
		w := ready(t, path, true)
		for cookie, n := range []uint32{1, 4096, 64 << 10, 256<<10 + 1, 1 << 20} {
			for _, flags := range []uint16{0, cmdFlagDF} {
				w.send(requestBytes(cmdRead, flags, uint64(cookie), 1<<20-uint64(n), n))
				w.answer(true, cmdRead, uint64(cookie), 1<<20-uint64(n), n, 0)
			}
		}
	}
}

// FUA belongs to every command once it is advertised.
func TestFUAIsNeverRefused(t *testing.T) {
	_, path := serveMem(t)
	w := ready(t, path, true)
	for kind := range uint16(cmdBlockStatus + 1) {
		if kind == cmdDisc {
			continue
		}
		w.send(requestBytes(kind, cmdFlagFUA, uint64(kind), 0, 512))
		switch kind {
		case cmdWrite:
			w.send(make([]byte, 512))
		case cmdBlockStatus:
			_, chunk, _ := w.chunk(uint64(kind))
			require.EqualValues(t, chunkBlockStatus, chunk)
			continue
		}
		w.answer(true, kind, uint64(kind), 0, 512, 0)
	}
}

// mapped has runs of its own, of what is below, and of nothing, 4 KiB each.
type mapped struct{ *memDevice }

func (mapped) Extents(_ context.Context, off, length int64, yield func(int64, bool, bool) bool) error {
	for at := off; at < off+length; {
		next := min(at&^4095+4096, off+length)
		kind := at / 4096 % 4
		if !yield(next-at, kind == 0 || kind == 3, kind == 2 || kind == 3) {
			return nil
		}
		at = next
	}
	return nil
}

type statusRun struct{ length, value uint32 }

// status asks for the map and returns the runs of each context that answered.
func (w *wire) status(flags uint16, offset uint64, length uint32) map[uint32][]statusRun {
	w.t.Helper()
	w.send(requestBytes(cmdBlockStatus, flags, 8, offset, length))
	all := map[uint32][]statusRun{}
	for {
		chunkFlags, kind, p := w.chunk(8)
		require.EqualValues(w.t, chunkBlockStatus, kind)
		id := be.Uint32(p)
		require.NotContains(w.t, all, id, "one chunk for each context")
		for p = p[4:]; len(p) > 0; p = p[8:] {
			all[id] = append(all[id], statusRun{be.Uint32(p), be.Uint32(p[4:])})
		}
		require.NotEmpty(w.t, all[id])
		if chunkFlags == chunkFlagDone {
			return all
		}
		require.Zero(w.t, chunkFlags)
	}
}

// withContexts has started transmission on "disk" with contexts of these names.
func withContexts(t testing.TB, path string, names ...string) (w *wire, ids map[string]uint32) {
	t.Helper()
	w, ids = greeted(t, path, 3), map[string]uint32{}
	w.option(optStructuredReply, nil)
	w.expect(optStructuredReply, repAck)
	w.option(optSetMeta, metaData("disk", names...))
	for range names {
		p := w.expect(optSetMeta, repMetaContext)
		ids[string(p[4:])] = be.Uint32(p)
	}
	w.expect(optSetMeta, repAck)
	w.option(optGo, goData("disk"))
	w.expect(optGo, repInfo, repAck)
	return w, ids
}

// Each chosen context is reported once, under its own number, and one that was
// not chosen is not.
func TestBlockStatusOfTwoContexts(t *testing.T) {
	_, path, _ := startServer(t, exportMap{"disk": mapped{newMemDevice(1 << 20)}}, Options{})
	const alloc, deep = baseAllocation, "qemu:allocation-depth"
	w, ids := withContexts(t, path, alloc, deep)
	require.NotEqual(t, ids[alloc], ids[deep])
	want := map[uint32][]statusRun{
		ids[alloc]: {{4095, 3}, {8192, 0}, {8192, 3}, {1, 0}},
		ids[deep]:  {{4095, 0}, {4096, 2}, {8192, 1}, {4096, 0}, {1, 2}},
	}
	require.Equal(t, want, w.status(0, 1, 4*4096+4096))
	require.Equal(t, map[uint32][]statusRun{ids[alloc]: {{4095, 3}}, ids[deep]: {{4095, 0}}}, w.status(cmdFlagReqOne, 1, 1<<19))
	require.Equal(t, map[uint32][]statusRun{ids[alloc]: {{100, 0}}, ids[deep]: {{100, 2}}}, w.status(cmdFlagReqOne, 4096, 100))

	w, ids = withContexts(t, path, deep)
	require.Equal(t, map[uint32][]statusRun{ids[deep]: {{4096, 0}, {4096, 2}, {8192, 1}}}, w.status(0, 0, 4*4096))
}

// A device that has more runs than a chunk may hold, and one that has none to
// tell, get a legal answer for every context.
func TestBlockStatusAlwaysHasARun(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.runs = func(i int64) bool { return i%2 == 1 }
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w, ids := withContexts(t, path, baseAllocation, "qemu:allocation-depth")
	runs := w.status(0, 0, 1<<20)
	require.Len(t, runs[ids[baseAllocation]], maxRuns)

	_, path, _ = startServer(t, exportMap{"disk": mute{d}}, Options{})
	w, _ = withContexts(t, path, baseAllocation, "qemu:allocation-depth")
	for _, runs := range w.status(0, 0, 1<<20) {
		require.Len(t, runs, 1)
		require.EqualValues(t, 1<<20, runs[0].length)
	}
}

type mute struct{ *memDevice }

func (mute) Extents(context.Context, int64, int64, func(int64, bool, bool) bool) error { return nil }

// Where a write may run out of space the map says HOLE, or depth is not 1.
func TestHolesMayRunOutOfSpace(t *testing.T) {
	for _, zero := range []bool{false, true} {
		for _, own := range []bool{false, true} {
			held := own && !zero
			promised := allocation(zero)&stateHole == 0 && depth(zero, own) == 1
			require.Equal(t, held, promised, "zero %v, own %v", zero, own)
			require.Equal(t, zero, allocation(zero)&stateZero != 0)
		}
	}
}

// volatile keeps apart what was written and what is durable.
type volatile struct {
	*memDevice
	durable struct {
		sync.Mutex
		p []byte
	}
}

func (d *volatile) sync(off, length int64) {
	d.durable.Lock()
	defer d.durable.Unlock()
	copy(d.durable.p[off:], d.text(int(off), int(length)))
}

func (d *volatile) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	err := d.memDevice.WriteAt(ctx, p, off, fua)
	if fua {
		d.sync(off, int64(len(p)))
	}
	return err
}

func (d *volatile) Flush(context.Context) error {
	d.sync(0, d.Size())
	return nil
}

func (d *volatile) holds(off int, want []byte) bool {
	d.durable.Lock()
	defer d.durable.Unlock()
	return bytes.Equal(want, d.durable.p[off:off+len(want)])
}

// FLUSH on one connection makes durable what was answered on another, and what
// one wrote with FUA the other sees.
func TestFlushCoversOtherConnections(t *testing.T) {
	d := &volatile{memDevice: newMemDevice(1 << 20)}
	d.durable.p = make([]byte, 1<<20)
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	a, b := ready(t, path, false), ready(t, path, false)
	for i := range 20 {
		p := fmt.Appendf(nil, "write %02d", i)
		off := uint64(i) << 12
		a.send(requestBytes(cmdWrite, 0, 1, off, uint32(len(p))), p)
		require.Zero(t, a.simple(1))
		require.False(t, d.holds(int(off), p))
		b.send(requestBytes(cmdFlush, 0, 2, 0, 0))
		require.Zero(t, b.simple(2))
		require.True(t, d.holds(int(off), p))

		p = append(p, '!')
		a.send(requestBytes(cmdWrite, cmdFlagFUA, 3, off, uint32(len(p))), p)
		require.Zero(t, a.simple(3))
		require.True(t, d.holds(int(off), p))
		b.send(requestBytes(cmdRead, 0, 4, off, uint32(len(p))))
		require.Zero(t, b.simple(4))
		require.Equal(t, p, b.read(len(p)))
	}
}

// What TRIM is a hint for, WRITE_ZEROES promises: the range, and no byte beside
// it, reads as zero, with a hole or without.
func TestZeroesReadBack(t *testing.T) {
	d := newFileDevice(t, 1<<20)
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, false)
	ones := bytes.Repeat([]byte{0xff}, 1<<16)
	for _, flags := range []uint16{0, cmdFlagNoHole, cmdFlagFUA} {
		for _, k := range [][2]int{{0, 4096}, {1, 4094}, {4095, 2}, {100, 50000}} {
			w.send(requestBytes(cmdWrite, 0, 1, 0, 1<<16), ones)
			require.Zero(t, w.simple(1))
			w.send(requestBytes(cmdWriteZeroes, flags, 2, uint64(k[0]), uint32(k[1])))
			require.Zero(t, w.simple(2))
			w.send(requestBytes(cmdRead, 0, 3, 0, 1<<16))
			require.Zero(t, w.simple(3))
			want := bytes.Clone(ones)
			clear(want[k[0] : k[0]+k[1]])
			require.True(t, bytes.Equal(want, w.read(1<<16)), "%v", k)
		}
	}
}

// Only what cannot be understood ends a connection.
func TestOnlyViolationsDisconnect(t *testing.T) {
	_, path := serveMem(t)
	for name, violation := range map[string][]byte{
		"bad magic":       make([]byte, requestSize),
		"a reply":         append(be.AppendUint32(nil, magicSimple), make([]byte, requestSize)...),
		"endless payload": requestBytes(cmdWrite, 0, 1, 0, 0xffffffff),
	} {
		t.Run(name, func(t *testing.T) {
			w := ready(t, path, false)
			w.send(requestBytes(0xabc, 0xfff, 7, 1<<63, 0xffffffff))
			require.EqualValues(t, errnoInval, w.simple(7))
			_, err := w.Write(violation)
			require.NoError(t, err)
			rest, err := io.ReadAll(w)
			require.NoError(t, err)
			require.Empty(t, rest)
		})
	}
}
