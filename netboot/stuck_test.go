package netboot

import (
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
