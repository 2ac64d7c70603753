package blockstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Retention says which snapshots to keep: the newest of each of the last so
// many hours, days, weeks, months and years in which there is one, and the Last
// newest of all. A snapshot that one rule keeps is kept. Periods are those of
// UTC; weeks are ISO 8601's.
type Retention struct {
	Last    int `json:"last,omitempty"`
	Hourly  int `json:"hourly,omitempty"`
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
	Yearly  int `json:"yearly,omitempty"`
}

// Keep tells for each of the times, in any order, whether it is kept.
func (r Retention) Keep(times []time.Time) []bool {
	order := make([]int, len(times))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return times[b].Compare(times[a]) })
	rules := []struct {
		n      int
		period func(t time.Time, i int) string
	}{
		{r.Last, func(_ time.Time, i int) string { return fmt.Sprint(i) }},
		{r.Hourly, func(t time.Time, _ int) string { return t.Format("2006-01-02T15") }},
		{r.Daily, func(t time.Time, _ int) string { return t.Format("2006-01-02") }},
		{r.Weekly, func(t time.Time, _ int) string { y, w := t.ISOWeek(); return fmt.Sprint(y, w) }},
		{r.Monthly, func(t time.Time, _ int) string { return t.Format("2006-01") }},
		{r.Yearly, func(t time.Time, _ int) string { return t.Format("2006") }},
	}
	keep := make([]bool, len(times))
	for _, rule := range rules {
		last := ""
		for _, i := range order {
			if period := rule.period(times[i].UTC(), i); rule.n > 0 && period != last {
				keep[i], last = true, period
				rule.n--
			}
		}
	}
	return keep
}

// PruneSnapshots deletes the snapshots of a volume that no rule keeps; with
// owner, it considers only those of that owner. With dry nothing is deleted. It
// returns what was, or would be, deleted.
//
// Errors: ErrNotFound, ErrInvalid (no rule: everything would go).
func (s *Store) PruneSnapshots(ctx context.Context, volume string, r Retention, owner string, dry bool) ([]SnapshotInfo, error) {
	for _, n := range []int{r.Last, r.Hourly, r.Daily, r.Weekly, r.Monthly, r.Yearly} {
		if n < 0 {
			return nil, errf(ErrInvalid, "%d is no number of snapshots to keep", n)
		}
	}
	if r == (Retention{}) {
		return nil, errf(ErrInvalid, "no rule says which snapshots of volume %q to keep: all would be deleted", volume)
	}
	list, err := s.Snapshots(ctx, volume)
	if err != nil {
		return nil, err
	}
	if owner != "" {
		list = slices.DeleteFunc(list, func(sn SnapshotInfo) bool { return sn.Owner != owner })
	}
	times := make([]time.Time, len(list))
	for i, sn := range list {
		times[i] = sn.Created
	}
	deleted := []SnapshotInfo{}
	for i, keep := range r.Keep(times) {
		if keep {
			continue
		}
		if !dry {
			if err := s.DeleteSnapshot(ctx, volume, list[i].Name, ""); err != nil && !errors.Is(err, ErrNotFound) {
				return deleted, err
			}
		}
		deleted = append(deleted, list[i])
	}
	return deleted, nil
}
