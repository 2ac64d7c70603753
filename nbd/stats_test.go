package nbd

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStatisticsCountWhatWasDone(t *testing.T) {
	t.Parallel()
	for _, structured := range []bool{false, true} {
		d := newMemDevice(1 << 20)
		s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
		require.Empty(t, s.Connections(), "a server without clients")
		w := ready(t, path, structured)
		h := simpleSize
		if structured {
			h = dataChunkSize
		}
		for i := range uint64(20) {
			w.send(requestBytes(cmdRead, 0, i, 0, 4096))
			w.read(h + 4096)
		}
		w.send(requestBytes(cmdWrite, 0, 1, 4096, 512), make([]byte, 512))
		w.simple(1)
		w.send(requestBytes(cmdFlush, 0, 2, 0, 0))
		w.simple(2)
		w.send(requestBytes(cmdTrim, 0, 3, 0, 8192))
		w.simple(3)
		list := s.Connections()
		require.Len(t, list, 1)
		c := list[0]
		require.Equal(t, "disk", c.Export)
		require.Equal(t, "unix", c.Peer)
		require.WithinDuration(t, time.Now(), c.Since, time.Hour)
		st := c.Statistics
		require.Equal(t, []int64{20, 1, 1, 1}, []int64{st.Reads.Count, st.Writes.Count, st.Flushes.Count, st.Others.Count})
		require.Equal(t, []int64{20 * 4096, 512, 0, 8192}, []int64{st.Reads.Bytes, st.Writes.Bytes, st.Flushes.Bytes, st.Others.Bytes})
		require.Equal(t, int64(20), st.Reads.Latency.Count())
		require.Positive(t, st.Reads.Latency.Quantile(0.99))
		require.Zero(t, st.Errors)
	}
}

// What a connection did stays with its export as long as others have it open.
func TestStatisticsOfAnExportOutliveConnections(t *testing.T) {
	t.Parallel()
	d := newMemDevice(1 << 20)
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	stays, leaves := ready(t, path, false), ready(t, path, false)
	for _, w := range []*wire{stays, leaves} {
		w.send(requestBytes(cmdRead, 0, 1, 0, 512))
		w.read(simpleSize + 512)
		w.send(requestBytes(cmdRead, 0, 2, 1<<20, 512)) // beyond the end
		require.NotZero(t, w.simple(2))
	}
	require.Equal(t, 2, s.Exports()[0].Connections)
	leaves.send(requestBytes(cmdDisc, 0, 0, 0, 0))
	leaves.closed()
	require.Eventually(t, func() bool { return len(s.Connections()) == 1 }, 30*time.Second, time.Millisecond)
	list := s.Exports()
	require.Len(t, list, 1)
	require.Equal(t, "disk", list[0].Export)
	require.Equal(t, 1, list[0].Connections)
	require.Equal(t, int64(2), list[0].Statistics.Reads.Count)
	require.Equal(t, int64(1024), list[0].Statistics.Reads.Bytes)
	require.Equal(t, int64(2), list[0].Statistics.Errors)
	stays.send(requestBytes(cmdDisc, 0, 0, 0, 0))
	stays.closed()
	require.Eventually(t, func() bool { return len(s.Exports()) == 0 }, 30*time.Second, time.Millisecond)
}

func TestConnectionsShowWhatIsInFlight(t *testing.T) {
	t.Parallel()
	d := newMemDevice(1 << 20)
	d.cached, d.gate, d.entered = false, make(chan struct{}), make(chan struct{})
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, false)
	w.send(requestBytes(cmdRead, 0, 1, 0, 4096))
	<-d.entered
	c := s.Connections()[0]
	require.Equal(t, 1, c.InFlight)
	require.GreaterOrEqual(t, c.InFlightBytes, int64(4096))
	require.Zero(t, c.Statistics.Reads.Count)
	close(d.gate)
	w.read(simpleSize + 4096)
	require.Eventually(t, func() bool { return s.Connections()[0].InFlight == 0 }, 30*time.Second, time.Millisecond)
}

func TestSlowRequestsAreLoggedAndCounted(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	d := newMemDevice(1 << 20)
	d.cached = false
	s := NewServer(exportMap{"disk": d}, Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), SlowRequest: 1})
	path := serveOn(t, s)
	w := ready(t, path, false)
	const n = 50
	for i := range uint64(n) {
		w.send(requestBytes(cmdRead, 0, i, 512, 1024))
		w.read(simpleSize + 1024)
	}
	require.Equal(t, int64(n), s.Connections()[0].Statistics.Slow)
	w.send(requestBytes(cmdDisc, 0, 0, 0, 0))
	w.closed()
	require.NoError(t, s.Close()) // nobody logs any more
	require.Contains(t, log.String(), `msg="nbd: slow request" export=disk remote=unix command=READ offset=512 length=1024 took=`)
	require.GreaterOrEqual(t, strings.Count(log.String(), "slow request"), warnBurst)
}

func TestSlowRequestsDoNotFloodTheLog(t *testing.T) {
	var log bytes.Buffer
	s := NewServer(exportMap{}, Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), SlowRequest: time.Second})
	c := &conn{srv: s}
	j := &job{request: request{kind: cmdWrite, length: 1}, at: -time.Minute}
	start := time.Now()
	for range 1000 {
		c.completed(j, nil)
	}
	seconds := int(time.Since(start)/time.Second) + 2
	require.LessOrEqual(t, strings.Count(log.String(), "slow request"), seconds*warnBurst)
	require.Equal(t, int64(1000), c.counters.slow.Load())
}

func TestCountingAllocatesNothing(t *testing.T) {
	c := &conn{srv: NewServer(exportMap{}, Options{SlowRequest: time.Hour})}
	j := &job{request: request{kind: cmdRead, length: 4096}}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		c.completed(j, nil)
		c.counters.took(sortRead, 8, 8*4096, time.Millisecond)
	}))
}

func TestQuantileIsAnUpperBound(t *testing.T) {
	var k counters
	for _, d := range []time.Duration{0, time.Microsecond, 3 * time.Microsecond, 100 * time.Microsecond, time.Hour} {
		k.took(sortWrite, 1, 0, d)
	}
	s := k.snapshot()
	l := &s.Writes.Latency
	require.Equal(t, int64(2), l[0])
	require.Equal(t, int64(1), l[1])
	require.Equal(t, int64(1), l[6])
	require.Equal(t, int64(1), l[LatencyBuckets-1])
	require.Equal(t, 2*time.Microsecond, l.Quantile(0.4))
	require.Equal(t, 4*time.Microsecond, l.Quantile(0.5))
	require.Equal(t, 128*time.Microsecond, l.Quantile(0.8))
	require.Zero(t, new(Latency).Quantile(0.5))
}
