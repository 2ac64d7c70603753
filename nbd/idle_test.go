package nbd

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A thousand servers that do nothing must cost next to nothing.
func TestIdleConnectionIsSmall(t *testing.T) {
	const n = 1000
	d := newMemDevice(1 << 20)
	d.cached = true
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{MaxPerExport: n + 1})
	wires := make([]*wire, n)
	use := func(w *wire, cookie uint64) {
		w.send(requestBytes(cmdRead, 0, cookie, 0, 4096))
		w.read(simpleSize + 4096)
		w.send(requestBytes(cmdFlush, 0, cookie, 0, 0)) // a worker's
		w.read(simpleSize)
	}
	use(ready(t, path, false), 1)
	before := inUse()
	for i := range wires {
		wires[i] = ready(t, path, false)
		require.NoError(t, wires[i].SetDeadline(time.Now().Add(5*time.Minute)))
	}
	for i, w := range wires {
		use(w, uint64(i))
	}
	each := (inUse() - before) / n
	t.Logf("%d bytes for each connection, the test's side among them", each)
	require.Less(t, each, int64(32<<10))
}

// Nor does half a header: the rest may never come.
func TestCutHeaderIsSmall(t *testing.T) {
	const n = 100
	_, path, _ := startServer(t, exportMap{"disk": newMemDevice(1 << 20)}, Options{})
	ready(t, path, false)
	before := inUse()
	wires := make([]*wire, n)
	read := requestBytes(cmdRead, 0, 1, 0, 512)
	for i := range wires {
		wires[i] = ready(t, path, false)
		wires[i].send(append(read[:requestSize:requestSize], read[:1+i%(requestSize-1)]...))
		wires[i].read(simpleSize + 512)
	}
	require.Less(t, (inUse()-before)/n, int64(32<<10))
	for i, w := range wires {
		w.send(read[1+i%(requestSize-1):])
		require.Zero(t, w.simple(1))
		w.read(512)
	}
}

// inUse is the memory of heap and stacks that is not garbage.
func inUse() int64 {
	for range 3 { // pools let go of what was unused for two collections
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
