package nbd

import (
	"bytes"
	"io"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Once pools are warm a request allocates nothing, whoever answers it. What is
// counted is all of the process: the test's own side allocates nothing either.
func TestRequestsAllocateNothing(t *testing.T) {
	const depth = 32
	most := 0.0
	if raceDetector {
		most = 4 * depth // what pools drop; a goroutine's worth for each request would be more
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it empties pools
	for _, k := range []struct {
		name       string
		kind       uint16
		length     uint32
		cached     bool
		structured bool
	}{
		{"inline read", cmdRead, 4096, true, false},
		{"inline structured read", cmdRead, 4096, true, true},
		{"long inline read", cmdRead, 128 << 10, true, false},
		{"worker's read", cmdRead, 4096, false, false},
		{"write", cmdWrite, 4096, true, false},
		{"flush", cmdFlush, 0, true, false},
	} {
		t.Run(k.name, func(t *testing.T) {
			d := newMemDevice(1 << 20)
			d.cached = k.cached
			_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
			w := ready(t, path, k.structured)
			require.NoError(t, w.SetDeadline(time.Now().Add(2*time.Minute)))
			request := requestBytes(k.kind, 0, 1, 0, k.length)
			reply := simpleSize
			if k.kind == cmdWrite {
				request = append(request, make([]byte, k.length)...)
			} else if reply += int(k.length); k.structured {
				reply += dataChunkSize - simpleSize
			}
			batch, answers := bytes.Repeat(request, depth), make([]byte, depth*reply)
			round := func() {
				_, err := w.Write(batch)
				if err == nil {
					_, err = io.ReadFull(w, answers)
				}
				if err != nil {
					t.Error(err)
				}
			}
			for range 100 {
				round()
			}
			got := testing.AllocsPerRun(100, round)
			t.Logf("%v allocations in %d requests", got, depth)
			require.LessOrEqual(t, got, most)
		})
	}
}

// Each read that has to wait for the disk holds a thread of the kernel's. A
// thousand servers that boot from a cold image get no more of them than
// Options.IOWorkers.
func TestColdReadsAreBounded(t *testing.T) {
	const clients, reads, slots = 50, 4, 8
	d := newMemDevice(1 << 20)
	d.gate = make(chan struct{})
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{IOWorkers: slots, ConnectionWorkers: reads})
	var all []*wire
	for range clients {
		w := ready(t, path, false)
		require.NoError(t, w.SetDeadline(time.Now().Add(2*time.Minute)))
		all = append(all, w)
		for i := range uint64(reads) {
			w.send(requestBytes(cmdRead, 0, i, 0, 512))
		}
	}
	require.Eventually(t, func() bool { return d.running.Load() == slots }, time.Minute, time.Millisecond)
	for range clients * reads {
		d.gate <- struct{}{}
	}
	for _, w := range all {
		for range reads {
			h := w.read(simpleSize + 512)
			require.Zero(t, be.Uint32(h[4:]))
		}
	}
	require.Equal(t, int64(slots), d.most.Load())
}
