package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"goldstream/blockstore"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "512": 512, "4096B": 4096, "40GiB": 40 << 30, "512MiB": 512 << 20, "1TiB": 1 << 40,
		"64 TiB": 64 << 40, "1PiB": 1 << 50, "10GB": 10_000_000_000, "1kb": 1000, "8G": 8 << 30, "1.5GiB": 3 << 29, "2k": 2048,
	} {
		got, err := parseSize(in)
		assert.NoError(t, err, in)
		assert.Equal(t, want, got, in)
	}
	for _, in := range []string{"", "GiB", "x", "-1", "-1GiB", "1e9", "inf", "0x10", "1.3B", "9999999TiB", "9223372036854775808", "1..5G", "1 2", "+1"} {
		_, err := parseSize(in)
		assert.Error(t, err, in)
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 40 << 30: "40 GiB", 1<<20 - 1: "1 MiB", 1 << 62: "4 EiB",
	} {
		assert.Equal(t, want, humanSize(n))
	}
}

func TestMeter(t *testing.T) {
	now := time.Unix(0, 0)
	var out lockedBuffer
	m := newMeter(&out, "import x")
	m.now, m.shown = func() time.Time { return now }, now
	for i := range 13 {
		now = time.Unix(int64(i), 0)
		m.show(blockstore.Progress{Stage: "read", Done: int64(i) << 20, Total: 20 << 20})
	}
	m.done()
	assert.Equal(t, "import x: read 5 MiB of 20 MiB, 25 %, 1 MiB/s, 15s left\n"+
		"import x: read 10 MiB of 20 MiB, 50 %, 1 MiB/s, 10s left\n", out.String())
}

func TestDescribeUnknownTotal(t *testing.T) {
	assert.Equal(t, "read 3 MiB, 1 MiB/s", describe(blockstore.Progress{Stage: "read", Done: 3 << 20, Total: -1}, 1<<20))
}
