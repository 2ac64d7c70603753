package attach

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPatience(t *testing.T) {
	t.Parallel()
	at := time.Now()
	after := func(d time.Duration) time.Time { at = at.Add(d); return at }
	p := newPatience(10 * time.Second)

	require.True(t, p.died(after(0), true))
	require.Equal(t, 20*time.Second, p.now)
	require.False(t, p.died(after(time.Second), true), "another connection of the same incident")
	require.True(t, p.died(after(20*time.Second), true))
	require.True(t, p.died(after(40*time.Second), true))
	require.Equal(t, mostPatience, p.now)
	require.False(t, p.died(after(time.Minute), true))
	require.Equal(t, mostPatience, p.now)

	require.False(t, p.died(after(time.Minute), false), "the server was away")
	require.Equal(t, 10*time.Second, p.now)
	require.False(t, p.calm(after(time.Hour)), "it is short already")

	require.True(t, p.died(after(0), true))
	require.False(t, p.calm(after(calmAfter-1)))
	require.True(t, p.calm(after(1)))
	require.Equal(t, 10*time.Second, p.now)
}

// Who asks for a long time, or leaves it to the kernel, has what they ask for.
func TestPatienceAsConfigured(t *testing.T) {
	t.Parallel()
	for _, base := range []time.Duration{0, mostPatience, time.Hour} {
		p := newPatience(base)
		require.False(t, p.died(time.Now(), true))
		require.False(t, p.died(time.Now(), false))
		require.Equal(t, base, p.now)
		require.False(t, p.calm(time.Now().Add(24*time.Hour)))
	}
}
