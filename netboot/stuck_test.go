package netboot

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/netboot/initramfs"
)

func TestStuck(t *testing.T) {
	t.Parallel()
	start := time.Unix(1e9, 0)
	b := Boot{}
	require.Empty(t, b.Stuck(start))
	for i, name := range []string{StageScript, StageKernel, StageInitrd, initramfs.StageInitramfs, initramfs.StageAttached} {
		at := start.Add(time.Duration(i) * time.Minute)
		b.Stages = append(b.Stages, Stage{name, at})
		require.Empty(t, b.Stuck(at.Add(stuckAfter-1)), "%s: it may go on", name)
		require.NotEmpty(t, b.Stuck(at.Add(stuckAfter)), name)
	}
	b.Mode = ModeLocal
	require.Empty(t, b.Stuck(start.Add(time.Hour)), "nobody tells more of it")
	b.Mode = ModeVolume
	b.Stages = append(b.Stages, Stage{initramfs.StageMounted, start})
	require.Empty(t, b.Stuck(start.Add(time.Hour)))
}

// TestAsked: a question by DHCP is the first stage of the boot that follows.
func TestAsked(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	start := l.now
	l.h.Asked(mac1)
	l.now = start.Add(20 * time.Second)
	l.h.Asked(mac1) // iPXE, which firmware started
	since, ok := l.h.Waiting([]string{mac2, mac1})
	require.True(t, ok)
	require.Equal(t, start, since)
	require.Empty(t, StuckAtDHCP(since, l.now))
	require.NotEmpty(t, StuckAtDHCP(since, start.Add(stuckAfter)))
	l.do("GET", "script?mac="+mac1, "10.0.0.10")
	last, ok := l.h.Last("1")
	require.True(t, ok)
	require.Equal(t, []Stage{{StageDHCP, start}, {StageScript, l.now}}, last.Stages)
	_, ok = l.h.Waiting([]string{mac1})
	require.False(t, ok, "it has come")
	for i := range 2 * mostAsked {
		l.h.Asked(fmt.Sprint(i))
	}
	require.LessOrEqual(t, len(l.h.boots.mu.asked), mostAsked)
}
