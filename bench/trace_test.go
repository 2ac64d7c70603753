package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTrace(t *testing.T) {
	trace, err := parseTrace(bootReads)
	require.NoError(t, err)
	require.Greater(t, len(trace), 1000)
	bytes := 0
	for _, r := range trace {
		bytes += r.length
	}
	require.Greater(t, bytes, 32<<20, "a boot reads more than that")
	for _, bad := range []string{"1", "x 1", "-1 8", "0 0", "4194303 2"} {
		_, err := parseTrace([]byte("# comment\n8 8\n" + bad + "\n"))
		require.ErrorContains(t, err, "line 3", bad)
	}
}

// What the image has is told from what it has not.
func TestTraceImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	trace := []read{{512, 512}, {traceRun * 5, traceBlock * 3}, {traceSize - traceBlock, traceBlock}}
	require.NoError(t, makeTraceImage(path, trace))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	st, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, int64(traceSize), st.Size())
	for _, r := range trace {
		p := make([]byte, r.length)
		_, err := f.ReadAt(p, r.off)
		require.NoError(t, err)
		require.NoError(t, checkRead(p, r.off))
	}
	p := make([]byte, traceBlock)
	_, err = f.ReadAt(p, traceRun*5)
	require.NoError(t, err)
	require.Error(t, checkRead(p, traceRun*6))
	require.Error(t, checkRead(make([]byte, traceBlock), traceBlock))
}
