package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBars(t *testing.T) {
	least := bar{peer: peerKit, x: 1.1, goal: 1.3}
	require.True(t, least.missed(1.09))
	require.False(t, least.missed(1.1))
	require.Equal(t, "≥ 1.10x, goal 1.3x", least.String())
	most := bar{peer: peerKit, cpu: true, most: true, x: 0.75}
	require.True(t, most.missed(0.76))
	require.False(t, most.missed(0.75))
	require.Equal(t, "≤ 0.75x", most.String())
}

// Each workload has a bar, and each bar a server that it is measured against.
func TestEveryWorkloadHasABar(t *testing.T) {
	for _, w := range workloads {
		require.NotEmpty(t, w.bars, w.what)
		for _, b := range w.bars {
			require.Contains(t, []string{peerKit, peerRaw, peerQcow2}, b.peer, w.what)
			found, ok := w.barOf(b.peer, b.cpu)
			require.True(t, ok)
			require.Equal(t, b, found, "two bars of %s against %s", w.what, b.peer)
		}
	}
}
