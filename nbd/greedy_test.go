package nbd

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What one client asks for must not keep the others waiting. These tests count
// whose requests the disk is given, and never look at a clock.

// askedDevice tells which connection's request it holds, until it may go on.
type askedDevice struct {
	*memDevice
	asked chan string
	goOn  chan struct{}
	name  string
}

func (d *askedDevice) TryReadAt([]byte, int64) bool { return false }

func (d *askedDevice) ReadAt(context.Context, []byte, int64) error {
	d.asked <- d.name
	<-d.goOn
	return nil
}

// inLine waits until so many goroutines of all connections are in line for a
// slot.
func inLine(t *testing.T, n int) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	require.Eventually(t, func() bool {
		found := 0
		for _, g := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			head, calls, _ := strings.Cut(g, "\n")
			if strings.Contains(head, "[chan send") && strings.HasPrefix(calls, "goldstream/nbd.(*conn).run(") {
				found++
			}
		}
		return found == n
	}, 60*time.Second, time.Millisecond)
}

// startTalk has started transmission on an export.
func startTalk(t *testing.T, path, export string) *wire {
	t.Helper()
	w := greeted(t, path, 3)
	require.NoError(t, w.SetDeadline(time.Now().Add(2*time.Minute)))
	w.option(optGo, goData(export))
	w.expect(optGo, repInfo, repAck)
	return w
}

// One client alone cannot take all slots: with its requests stuck for good,
// another's are done.
func TestAGreedyClientLeavesSlots(t *testing.T) {
	greedy := &askedDevice{newMemDevice(1 << 20), make(chan string, 200), make(chan struct{}), "greedy"}
	defer close(greedy.goOn)
	modest := newMemDevice(1 << 20)
	modest.cached = false
	_, path, _ := startServer(t, exportMap{"greedy": greedy, "modest": modest}, Options{IOWorkers: 4, ConnectionWorkers: 2})
	w := startTalk(t, path, "greedy")
	for i := range uint64(100) {
		w.send(requestBytes(cmdRead, 0, i, 0, 4096))
	}
	<-greedy.asked
	<-greedy.asked
	m := startTalk(t, path, "modest")
	for i := range uint64(50) {
		m.send(requestBytes(cmdRead, 0, i, 0, 4096))
		require.Zero(t, m.simple(i))
		m.read(4096)
	}
	require.Empty(t, greedy.asked, "a third of its requests is at the disk")
}

// Several greedy clients can take all slots. Then another one's request is next
// after what stood in line before it: as many as their workers, however many
// requests they have sent.
func TestGreedyClientsWaitInLine(t *testing.T) {
	const clients, workers, slots = 3, 4, 4
	asked, goOn := make(chan string, 1000), make(chan struct{})
	exports := exportMap{}
	for _, name := range []string{"greedy", "modest"} {
		exports[name] = &askedDevice{newMemDevice(1 << 20), asked, goOn, name}
	}
	_, path, _ := startServer(t, exports, Options{IOWorkers: slots, ConnectionWorkers: workers})
	for range clients {
		w := startTalk(t, path, "greedy")
		for i := range uint64(100) {
			w.send(requestBytes(cmdRead, 0, i, 0, 512))
		}
	}
	for range slots {
		require.Equal(t, "greedy", <-asked)
	}
	ahead := clients*workers - slots
	inLine(t, ahead)
	m := startTalk(t, path, "modest")
	m.send(requestBytes(cmdRead, 0, 1, 0, 512))
	inLine(t, ahead+1)
	for range ahead {
		goOn <- struct{}{}
		require.Equal(t, "greedy", <-asked)
	}
	goOn <- struct{}{}
	require.Equal(t, "modest", <-asked, "it is not its turn although %d were served since it came", ahead)
	close(goOn)
	require.Zero(t, m.simple(1))
}

// An export that is written to has so many connections, whoever has them; they
// do not keep other exports' clients out.
func TestConnectionsOfAnExportAreBounded(t *testing.T) {
	ro := newMemDevice(4096)
	ro.readOnly = true
	s, path, _ := startServer(t, exportMap{"disk": newMemDevice(4096), "other": newMemDevice(4096), "golden": ro}, Options{MaxPerExport: 3})
	var all []*wire
	for range 3 {
		all = append(all, startTalk(t, path, "disk"))
	}
	for _, option := range []uint32{optInfo, optGo} {
		w := greeted(t, path, 3)
		w.option(option, goData("disk"))
		require.Contains(t, string(w.expect(option, repErrPolicy)), "3 connections")
		w.option(optGo, goData("other"))
		w.expect(optGo, repInfo, repAck)
	}
	for range 5 {
		startTalk(t, path, "golden")
	}
	require.Equal(t, 3, s.InUse("disk"))
	require.NoError(t, all[1].Close())
	require.Eventually(t, func() bool { return s.InUse("disk") == 2 }, 60*time.Second, time.Millisecond)
	startTalk(t, path, "disk")
}
