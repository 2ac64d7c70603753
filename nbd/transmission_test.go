package nbd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every request is answered with the errno of the protocol, with its cookie,
// and the next one is understood.
func TestRequests(t *testing.T) {
	const size = 1 << 20
	const eperm, einval, enospc, enotsup = errnoPerm, errnoInval, errnoNoSpace, errnoNotSup
	cases := []struct {
		name        string
		kind, flags uint16
		offset      uint64
		length      uint32
		want        uint32
		wantRO      uint32
	}{
		{"READ", cmdRead, 0, 3, 5, 0, 0},
		{"READ all", cmdRead, 0, 0, size, 0, 0},
		{"READ nothing", cmdRead, 0, 0, 0, 0, 0},
		{"READ nothing at end", cmdRead, 0, size, 0, 0, 0},
		{"READ FUA", cmdRead, cmdFlagFUA, 0, 5, 0, 0},
		{"READ past end", cmdRead, 0, size - 1, 2, einval, einval},
		{"READ far", cmdRead, 0, 1 << 63, 2, einval, einval},
		{"READ overflow", cmdRead, 0, 1<<64 - 1, 2, einval, einval},
		{"READ oversize", cmdRead, 0, 0, maxPayload + 1, einval, einval},
		{"READ unknown flag", cmdRead, 1 << 9, 0, 5, einval, einval},
		{"READ misplaced flag", cmdRead, cmdFlagNoHole, 0, 5, einval, einval},
		{"WRITE", cmdWrite, 0, 7, 9, 0, eperm},
		{"WRITE FUA", cmdWrite, cmdFlagFUA, 7, 9, 0, eperm},
		{"WRITE nothing", cmdWrite, 0, 7, 0, 0, eperm},
		{"WRITE large", cmdWrite, 0, 0, 300000, 0, eperm},
		{"WRITE past end", cmdWrite, 0, size, 1, enospc, eperm},
		{"WRITE unknown flag", cmdWrite, 1 << 5, 0, 9, einval, einval},
		{"WRITE oversize", cmdWrite, 0, 0, maxPayload + 1, einval, einval},
		{"FLUSH", cmdFlush, 0, 0, 0, 0, 0},
		{"FLUSH reserved fields", cmdFlush, 0, 1 << 60, 77, 0, 0},
		{"FLUSH FUA", cmdFlush, cmdFlagFUA, 0, 0, 0, 0},
		{"TRIM", cmdTrim, 0, 0, 4096, 0, eperm},
		{"TRIM FUA", cmdTrim, cmdFlagFUA, 0, 4096, 0, eperm},
		{"TRIM nothing", cmdTrim, 0, 0, 0, 0, eperm},
		{"TRIM past end", cmdTrim, 0, 4096, 0xffffffff, einval, eperm},
		{"CACHE", cmdCache, 0, 0, size, 0, 0},
		{"CACHE FUA", cmdCache, cmdFlagFUA, 0, size, 0, 0},
		{"CACHE unknown flag", cmdCache, 1 << 3, 0, size, einval, einval},
		{"CACHE past end", cmdCache, 0, 1, size, einval, einval},
		{"ZERO", cmdWriteZeroes, 0, 0, 4096, 0, eperm},
		{"ZERO no hole", cmdWriteZeroes, cmdFlagNoHole, 0, 4096, 0, eperm},
		{"ZERO fast", cmdWriteZeroes, cmdFlagFastZero | cmdFlagFUA, 0, 4096, 0, eperm},
		{"ZERO fast, no hole", cmdWriteZeroes, cmdFlagFastZero | cmdFlagNoHole, 0, 4096, enotsup, eperm},
		{"ZERO past end", cmdWriteZeroes, 0, 1, 0xffffffff, enospc, eperm},
		{"BLOCK_STATUS nothing", cmdBlockStatus, 0, 0, 0, einval, einval},
		{"BLOCK_STATUS past end", cmdBlockStatus, 0, 1, size, einval, einval},
		{"BLOCK_STATUS wrong flag", cmdBlockStatus, cmdFlagDF, 0, 8, einval, einval},
		{"RESIZE", 8, 0, 0, 0, einval, einval},
		{"unknown", 0xffff, 0, 1, 99, einval, einval},
		{"unknown with flags", 100, 0xffff, 1, 99, einval, einval},
	}
	for _, readOnly := range []bool{false, true} {
		for _, structured := range []bool{false, true} {
			d := newMemDevice(size)
			d.readOnly = readOnly
			_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
			w := ready(t, path, structured)
			for i, k := range cases {
				t.Run(fmt.Sprintf("%s ro=%v sr=%v", k.name, readOnly, structured), func(t *testing.T) {
					w.t = t
					cookie := 0xfeed0000deadbeef + uint64(i)
					w.send(requestBytes(k.kind, k.flags, cookie, k.offset, k.length))
					if k.kind == cmdWrite {
						w.send(make([]byte, k.length))
					}
					want := k.want
					if readOnly {
						want = k.wantRO
					}
					w.answer(structured, k.kind, cookie, k.offset, k.length, want)
				})
			}
		}
	}
}

// answer reads the reply to a request and requires its errno.
func (w *wire) answer(structured bool, kind uint16, cookie, offset uint64, length, want uint32) {
	w.t.Helper()
	if !structured || want == 0 && kind != cmdRead {
		require.Equal(w.t, want, w.simple(cookie))
		if kind == cmdRead && want == 0 {
			w.read(int(length))
		}
		return
	}
	flags, chunk, payload := w.chunk(cookie)
	require.Equal(w.t, uint16(chunkFlagDone), flags)
	switch {
	case want != 0:
		require.Equal(w.t, uint16(chunkError), chunk)
		require.Equal(w.t, want, be.Uint32(payload))
		require.Equal(w.t, len(payload)-6, int(be.Uint16(payload[4:])))
		require.Greater(w.t, len(payload), 6)
	case length == 0:
		require.Equal(w.t, uint16(chunkNone), chunk)
		require.Empty(w.t, payload)
	default:
		require.Equal(w.t, uint16(chunkOffsetData), chunk)
		require.Equal(w.t, offset, be.Uint64(payload))
		require.Len(w.t, payload, 8+int(length))
	}
}

func TestDFNeedsStructuredReplies(t *testing.T) {
	_, path := serveMem(t)
	for structured, want := range map[bool]uint32{false: errnoInval, true: 0} {
		w := ready(t, path, structured)
		w.send(requestBytes(cmdRead, cmdFlagDF, 4, 0, 64<<10))
		w.answer(structured, cmdRead, 4, 0, 64<<10, want)
	}
}

// What was written is read, by the reader and by workers, at any alignment.
func TestDataRoundTrip(t *testing.T) {
	for _, cached := range []bool{false, true} {
		for _, structured := range []bool{false, true} {
			d := newMemDevice(1 << 20)
			d.cached = cached
			_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
			w := ready(t, path, structured)
			for cookie, n := range []uint32{1, 511, 4096, 65536, 65537, 262144, 262145, 900001} {
				p := bytes.Repeat([]byte{byte(n), 7, byte(n >> 8)}, int(n)/3+1)[:n]
				w.send(requestBytes(cmdWrite, 0, uint64(cookie), 13, n), p)
				require.Zero(t, w.simple(uint64(cookie)))
				w.send(requestBytes(cmdRead, 0, uint64(cookie), 13, n))
				if !structured {
					require.Zero(t, w.simple(uint64(cookie)))
					require.True(t, bytes.Equal(p, w.read(int(n))))
					continue
				}
				_, _, got := w.chunk(uint64(cookie))
				require.True(t, bytes.Equal(p, got[8:]))
			}
		}
	}
}

func TestOversizeWriteBeyondDrainCloses(t *testing.T) {
	_, path := serveMem(t)
	w := ready(t, path, false)
	w.send(requestBytes(cmdWrite, 0, 1, 0, maxDrain+1))
	w.closed()
}

func TestBadMagicCloses(t *testing.T) {
	_, path := serveMem(t)
	w := ready(t, path, false)
	w.send(make([]byte, requestSize))
	w.closed()
}

func TestDeviceErrors(t *testing.T) {
	for _, k := range []struct {
		err  error
		want uint32
	}{
		{syscall.ENOSPC, errnoNoSpace},
		{fmt.Errorf("pool: %w", syscall.EDQUOT), errnoNoSpace},
		{syscall.EFBIG, errnoNoSpace},
		{syscall.EROFS, errnoPerm},
		{syscall.EACCES, errnoPerm},
		{syscall.EPERM, errnoPerm},
		{syscall.EINVAL, errnoInval},
		{syscall.ENOTSUP, errnoIO},
		{syscall.ENOMEM, errnoIO},
		{syscall.Errno(errnoShutdown), errnoIO},
		{errors.New("secret"), errnoIO},
	} {
		t.Run(k.err.Error(), func(t *testing.T) {
			d := newMemDevice(1 << 20)
			d.fail = k.err
			_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
			w := ready(t, path, false)
			for kind := uint16(0); kind < cmdBlockStatus; kind++ {
				if kind == cmdDisc {
					continue
				}
				w.send(requestBytes(kind, 0, 5, 0, 512))
				if kind == cmdWrite {
					w.send(make([]byte, 512))
				}
				require.Equal(t, k.want, w.simple(5), commandName(kind))
			}
			w.send(requestBytes(cmdWriteZeroes, cmdFlagFastZero, 6, 0, 4096))
			want := k.want
			if k.err == syscall.ENOTSUP {
				want = errnoNotSup
			}
			require.Equal(t, want, w.simple(6))

			s := ready(t, path, true)
			s.send(requestBytes(cmdBlockStatus, 0, 5, 0, 512))
			_, kind, payload := s.chunk(5)
			require.Equal(t, uint16(chunkError), kind)
			require.Equal(t, k.want, be.Uint32(payload))
			require.NotContains(t, string(payload), "secret")
		})
	}
}

func TestBlockStatus(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.runs = func(i int64) bool {
		if i < 4000 {
			return i/1000%2 == 1
		}
		return i%2 == 1
	}
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, true)

	status := func(flags uint16, offset uint64, length uint32) [][2]uint32 {
		w.send(requestBytes(cmdBlockStatus, flags, 8, offset, length))
		chunkFlags, kind, p := w.chunk(8)
		require.Equal(t, uint16(chunkFlagDone), chunkFlags)
		require.Equal(t, uint16(chunkBlockStatus), kind)
		require.Equal(t, uint32(1), be.Uint32(p))
		var runs [][2]uint32
		for p = p[4:]; len(p) > 0; p = p[8:] {
			runs = append(runs, [2]uint32{be.Uint32(p), be.Uint32(p[4:])})
		}
		return runs
	}
	require.Equal(t, [][2]uint32{{500, 0}, {1000, 3}, {500, 0}}, status(0, 500, 2000))
	require.Equal(t, [][2]uint32{{500, 0}}, status(cmdFlagReqOne, 500, 2000))
	require.Equal(t, [][2]uint32{{500, 3}}, status(cmdFlagReqOne|cmdFlagFUA, 1500, 2000))

	require.Len(t, status(0, 4000, 1<<20-4000), maxRuns)
}

func TestFUAReachesTheDevice(t *testing.T) {
	d, path := serveMem(t)
	w := ready(t, path, false)
	for i, kind := range []uint16{cmdWriteZeroes, cmdTrim} {
		w.send(requestBytes(kind, cmdFlagFUA, 1, 0, 512))
		require.Zero(t, w.simple(1))
		require.Equal(t, int64(i+1), d.fua.Load())
	}
	w.send(requestBytes(cmdWrite, cmdFlagFUA, 1, 0, 4), []byte(strings.Repeat("x", 4)))
	require.Zero(t, w.simple(1))
	require.Equal(t, int64(3), d.fua.Load())
}

// What is known not to be fast is refused before it is tried; nothing at all
// is always fast.
func TestFastZero(t *testing.T) {
	_, path := serveMem(t)
	w := ready(t, path, false)
	for _, k := range []struct {
		flags  uint16
		offset uint64
		length uint32
		want   uint32
	}{
		{cmdFlagFastZero, 0, 4096, 0},
		{cmdFlagFastZero, 100, 8192, 0},
		{cmdFlagFastZero, 0, 4095, errnoNotSup},
		{cmdFlagFastZero, 1, 4096, errnoNotSup},
		{cmdFlagFastZero, 4095, 4097, 0},
		{cmdFlagFastZero, 1, 8190, errnoNotSup},
		{cmdFlagFastZero, 7, 0, 0},
		{cmdFlagFastZero | cmdFlagNoHole, 0, 4096, errnoNotSup},
		{cmdFlagFastZero | cmdFlagNoHole, 0, 0, 0},
		{0, 1, 1, 0},
	} {
		w.send(requestBytes(cmdWriteZeroes, k.flags, 1, k.offset, k.length))
		require.Equal(t, k.want, w.simple(1), "%+v", k)
	}
}

// prefetched records the longest range that was asked for.
type prefetched struct {
	*memDevice
	longest atomic.Int64
}

func (d *prefetched) Size() int64 { return 1 << 40 }

func (d *prefetched) Prefetch(_ context.Context, _, length int64) error {
	d.longest.Store(max(length, d.longest.Load()))
	return nil
}

func TestCacheIsBounded(t *testing.T) {
	d := &prefetched{memDevice: newMemDevice(4096)}
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, false)
	w.send(requestBytes(cmdCache, 0, 1, 1<<30, 0xffffffff))
	require.Zero(t, w.simple(1))
	require.Equal(t, int64(maxPrefetch), d.longest.Load())
}
