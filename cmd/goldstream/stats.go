package main

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

// watchEvery is how often --watch shows anew.
const watchEvery = 2 * time.Second

func statsCommand() *cli.Command {
	return verb{
		name: "stats", usage: "show what the store has done since it was opened, and what it holds",
		examples: []string{"goldstream stats", "goldstream stats --watch", "goldstream stats --json"},
		flags:    []cli.Flag{&cli.BoolFlag{Name: "watch", Usage: "show it again every two seconds, until interrupted"}},
		action:   showStats,
	}.command()
}

func showStats(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			st, err := client.Stats(c.ctx)
			if err != nil {
				return err
			}
			if err := c.print(st, func(w io.Writer) { statsFields(w, st) }); err != nil || !c.Bool("watch") {
				return err
			}
			select {
			case <-c.ctx.Done():
				return nil
			case <-tick.C:
				if !c.Bool("json") {
					fmt.Fprintln(c.out)
				}
			}
		}
	})
}

func statsFields(w io.Writer, st blockstore.Stats) {
	p := st.Pebble
	failed := ""
	if st.Failed {
		failed = "yes: it takes no more changes, see the daemon's log"
	}
	fields(w, [][2]string{
		{"failed", failed},
		{"since", localTime(st.Since)},
		{"writes", fmt.Sprintf("%d, %s", st.Writes, humanSize(st.WrittenBytes))},
		{"flushes", timingText(st.Flushes)},
		{"commits of volumes", timingText(st.Commits)},
		{"commits of metadata", fmt.Sprintf("%s, %d batches", timingText(st.MetadataCommits), st.MetadataBatches)},
		{"volumes", fmt.Sprintf("%d open, %d with writes that are not durable", st.OpenVolumes, st.DirtyVolumes)},
		{"unsynced", fmt.Sprintf("%s, the oldest for %s", humanSize(st.UnsyncedBytes), st.OldestUnsynced.Round(time.Millisecond))},
		{"stalled writes", fmt.Sprint(st.Stalled)},
		{"maps in memory", fmt.Sprintf("%s of %s, %s of them tables of open disks", humanSize(st.MapBytes), humanSize(st.MapBudget), humanSize(st.MapTables))},
		{"data files open", fmt.Sprintf("%d of %d", st.OpenFiles, st.FileLimit)},
		{"file system", fmt.Sprintf("%s of %s free", humanSize(st.Free), humanSize(st.Total))},
		{"metadata", fmt.Sprintf("%s on disk, %s in memory, log %s written", humanSize(p.DiskBytes), humanSize(p.MemtableBytes), humanSize(p.LogBytes))},
		{"level 0", fmt.Sprintf("%d files, %d sublevels, read amplification %d", p.L0Files, p.L0Sublevels, p.ReadAmplification)},
		{"compactions", fmt.Sprintf("%d, %d now, %s to do", p.Compactions, p.CompactionsNow, humanSize(p.CompactionDebt))},
		{"block cache", fmt.Sprintf("%s, %d hits, %d misses", humanSize(p.CacheBytes), p.CacheHits, p.CacheMisses)},
	})
}

func timingText(t blockstore.Timing) string {
	if t.Count == 0 {
		return "0"
	}
	return fmt.Sprintf("%d, p50 <%s, p99 <%s", t.Count, t.Quantile(0.5), t.Quantile(0.99))
}
