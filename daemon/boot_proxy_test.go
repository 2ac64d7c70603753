package daemon

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStopDoesNotWaitForDnsmasq: one that hangs when it is started keeps nothing from a
// stop.
func TestStopDoesNotWaitForDnsmasq(t *testing.T) {
	bin := t.TempDir()
	started := filepath.Join(bin, "started")
	require.NoError(t, os.WriteFile(filepath.Join(bin, "dnsmasq"), []byte("#!/bin/sh\n: >"+started+"\nexec sleep 1000\n"), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	d, err := Open(t.TempDir(), Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- d.Run(ctx, RunConfig{NBD: []Listener{{Address: "127.0.0.1:0"}}, Boot: []string{"127.0.0.1:0"}, BootDHCP: true})
	}()
	require.Eventually(t, func() bool { return exists(started) }, time.Minute, 10*time.Millisecond)
	stop()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(45 * time.Second): // less than a start may take
		t.Fatal("the stop waits for dnsmasq")
	}
}
