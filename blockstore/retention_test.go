package blockstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRetention(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse("2006-01-02T15:04", s)
		require.NoError(t, err)
		return v
	}
	times := []time.Time{
		at("2026-01-01T10:10"), at("2026-01-01T10:50"), at("2026-01-01T11:00"),
		at("2026-01-02T09:00"), at("2026-01-04T09:00"), at("2026-01-05T09:00"), // Sunday, Monday
		at("2026-02-01T00:00"), at("2025-12-31T23:59"),
	}
	for name, c := range map[string]struct {
		rule Retention
		keep []int
	}{
		"none":                  {Retention{}, nil},
		"last":                  {Retention{Last: 2}, []int{6, 5}},
		"more than there are":   {Retention{Last: 100}, []int{0, 1, 2, 3, 4, 5, 6, 7}},
		"the newest of an hour": {Retention{Hourly: 6}, []int{6, 5, 4, 3, 2, 1}},
		"daily":                 {Retention{Daily: 4}, []int{6, 5, 4, 3}},
		"weeks begin on Monday": {Retention{Weekly: 3}, []int{6, 5, 4}},
		"monthly":               {Retention{Monthly: 5}, []int{6, 5, 7}},
		"yearly":                {Retention{Yearly: 2}, []int{6, 7}},
		"one rule is enough":    {Retention{Last: 1, Yearly: 2, Monthly: 2}, []int{6, 5, 7}},
	} {
		t.Run(name, func(t *testing.T) {
			var kept []int
			for i, keep := range c.rule.Keep(times) {
				if keep {
					kept = append(kept, i)
				}
			}
			require.ElementsMatch(t, c.keep, kept)
		})
	}
}

func TestPruneSnapshots(t *testing.T) {
	s := openStore(t, t.TempDir())
	d, _ := threeSnapshots(t, s)
	_, err := s.PruneSnapshots(ctx, "v", Retention{}, "", false)
	require.ErrorIs(t, err, ErrInvalid)
	gone, err := s.PruneSnapshots(ctx, "v", Retention{Last: 1}, "", true)
	require.NoError(t, err)
	require.Len(t, gone, 2)
	gone, err = s.PruneSnapshots(ctx, "v", Retention{Last: 1}, "somebody", false)
	require.NoError(t, err)
	require.Empty(t, gone)
	gone, err = s.PruneSnapshots(ctx, "v", Retention{Last: 1}, "", false)
	require.NoError(t, err)
	require.Len(t, gone, 2)
	list, err := s.Snapshots(ctx, "v")
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "s3", list[0].Name)
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())
}

func TestUsage(t *testing.T) {
	s := openStore(t, t.TempDir())
	d, _ := threeSnapshots(t, s)
	writeAt(t, d, pattern(50, 1<<20), 0)
	require.NoError(t, d.Close())
	require.NoError(t, s.DeleteSnapshot(ctx, "v", "s2", ""))
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "c", Volume: "v", Snapshot: "s3"})
	require.NoError(t, err)
	want := map[string]Usage{
		"v":    {Kind: "volume", Logical: 8 << 20, Mapped: 8 << 20, Exclusive: 5 << 20}, // its top, and s1
		"v/s1": {Kind: "snapshot", Logical: 8 << 20, Mapped: 8 << 20, Exclusive: 4 << 20},
		"v/s3": {Kind: "snapshot", Logical: 8 << 20, Mapped: 8 << 20, Exclusive: 0}, // c reads it
		"c":    {Kind: "volume", Logical: 8 << 20, Mapped: 8 << 20, Exclusive: 0},
	}
	require.Eventually(t, func() bool {
		report, err := s.Usage(ctx)
		require.NoError(t, err)
		require.Len(t, report.Disks, len(want))
		return report.Disks[len(report.Disks)-1].Exclusive == 5<<20 && report.Data < 14<<20 // s2 is reclaimed
	}, waitLong, waitTick)
	report, err := s.Usage(ctx)
	require.NoError(t, err)
	for _, u := range report.Disks {
		w := want[u.Name]
		w.Name = u.Name
		require.Equal(t, w, u)
	}
	require.NoError(t, s.Close())
}
