package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAttachRefusesWhatMakesNoSense(t *testing.T) {
	h := newHouse(t)
	for want, args := range map[string][]string{
		"no NBD device":     {"attach", "/dev/sda", "--server", "127.0.0.1", "--export", "web"},
		"which export":      {"attach", "/dev/nbd0", "--server", "127.0.0.1"},
		"no number from 1":  {"attach", "/dev/nbd0", "--server", "127.0.0.1", "--export", "web", "--connections", "many"},
		"DEVICE is missing": {"attach", "--server", "127.0.0.1", "--export", "web"},
		"no NBD":            {"detach", "/dev/sda"},
	} {
		r := h.run(args...)
		require.Equal(t, exitUsage, r.code, "%v: %s", args, r.err)
		require.Contains(t, r.err, want)
	}
}
