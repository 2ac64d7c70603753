package nbd

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// logText is a log that may be read while it is written.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Whatever a failure is answered with, its cause is logged and it is counted.
func TestDeviceFailuresAreLogged(t *testing.T) {
	for err, name := range map[error]string{
		fmt.Errorf("pool: %w", syscall.ENOSPC): "ENOSPC",
		syscall.EACCES:                         "EPERM",
		syscall.EINVAL:                         "EINVAL",
		syscall.EBADF:                          "EIO",
	} {
		var log logText
		d := newMemDevice(1 << 20)
		d.fail = err
		_, path, _ := startServer(t, exportMap{"disk": d}, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		w := ready(t, path, false)
		for range 9 {
			w.send(requestBytes(cmdFlush, 0, 1, 0, 0))
			require.NotZero(t, w.simple(1))
		}
		w.send(requestBytes(cmdDisc, 0, 0, 0, 0))
		w.closed()
		require.Eventually(t, func() bool { return strings.Contains(log.String(), "errors=9") }, 10*time.Second, time.Millisecond)
		require.Equal(t, 4, strings.Count(log.String(), "request failed"), log.String())
		require.Contains(t, log.String(), "answered="+name)
		require.Contains(t, log.String(), err.Error())
	}
}

func TestWarningsAreLimited(t *testing.T) {
	var l warnLimit
	now := time.Unix(1000, 0)
	for range warnBurst {
		ok, dropped := l.allow(now)
		require.True(t, ok)
		require.Zero(t, dropped)
	}
	for range 5 {
		ok, _ := l.allow(now)
		require.False(t, ok)
	}
	ok, dropped := l.allow(now.Add(time.Second))
	require.True(t, ok)
	require.Equal(t, 5, dropped)
}
