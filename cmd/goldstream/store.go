package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/daemon"
)

func storeCommands() []*cli.Command {
	return commands([]verb{
		{
			name: "checkpoint", usage: "keep a copy of the metadata as it is now",
			examples: []string{"goldstream store checkpoint"},
			action:   takeCheckpoint,
		},
		{
			name: "checkpoints", usage: "list the copies of the metadata that are kept",
			examples: []string{"goldstream store checkpoints", "goldstream store checkpoints --json"},
			action:   listCheckpoints,
		},
		{
			name: "restore-checkpoint", args: "NAME", usage: "go back to a copy of the metadata; without --yes only say what that would do",
			examples: []string{
				"goldstream store restore-checkpoint latest",
				"goldstream store restore-checkpoint 20261129T080000Z-000000000000002a --yes",
			},
			flags:  restoreFlags(),
			action: restoreCheckpoint, complete: names{checkpointNames},
		},
		{
			name: "dump", args: "FILE|-", usage: "write the metadata to a file, which helps on another disk; the daemon may run",
			examples: []string{"goldstream store dump /backup/goldstream.jsonl", "goldstream store dump - | zstd > /backup/goldstream.jsonl.zst"},
			action:   dumpStore,
		},
		{
			name: "restore", args: "FILE|-", usage: "go back to metadata that was dumped; without --yes only say what that would do",
			examples: []string{"goldstream store restore /backup/goldstream.jsonl", "goldstream store restore /backup/goldstream.jsonl --yes"},
			flags:    restoreFlags(),
			action:   restoreDump,
		},
		{
			name: "accept", usage: "go on with metadata that lost its tail; without --yes only say what is known",
			examples: []string{"goldstream store accept", "goldstream store accept --yes"},
			flags:    []cli.Flag{yesFlag()},
			action:   acceptTail,
		},
	})
}

func restoreFlags() []cli.Flag {
	return []cli.Flag{
		yesFlag(),
		&cli.BoolFlag{Name: "accept-missing", Usage: "do it although data was reclaimed since, which then reads as zero"},
	}
}

func yesFlag() cli.Flag { return &cli.BoolFlag{Name: "yes", Usage: "do it"} }

func takeCheckpoint(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		info, err := client.Checkpoint(c.ctx)
		if err != nil {
			return err
		}
		return c.print(info, func(w io.Writer) { fmt.Fprintln(w, info.Name) })
	})
}

func listCheckpoints(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		list, err := client.Checkpoints(c.ctx)
		if err != nil {
			return err
		}
		return c.print(list, func(w io.Writer) {
			fmt.Fprintln(w, "NAME\tTIME\tCOMMIT")
			for _, info := range list {
				fmt.Fprintf(w, "%s\t%s\t%d\n", info.Name, localTime(info.Time), info.Sequence)
			}
		})
	})
}

func checkpointNames(c *call) []string {
	return daemonNames(c, (*v1.Client).Checkpoints, func(i blockstore.CheckpointInfo) string { return i.Name })
}

// offline runs f on a data directory that no daemon has open.
func offline[T any](c *call, f func(ctx context.Context, dir string) (T, error), show func(w io.Writer, report T)) error {
	if err := c.here(); err != nil {
		return err
	}
	dir := c.String("data")
	if err := checkOwner(dir); err != nil {
		return err
	}
	report, err := f(c.ctx, dir)
	if err != nil {
		return explainOwner(dir, err)
	}
	return c.print(report, func(w io.Writer) { show(w, report) })
}

func restoreCheckpoint(c *call) error {
	req := blockstore.RestoreRequest{Checkpoint: c.arg(0), Apply: c.Bool("yes"), AcceptMissing: c.Bool("accept-missing")}
	return offline(c, func(ctx context.Context, dir string) (blockstore.RestoreReport, error) {
		return daemon.RestoreCheckpoint(ctx, dir, req)
	}, showRestore)
}

func showRestore(w io.Writer, r blockstore.RestoreReport) {
	if d := r.Dump; d != nil {
		fmt.Fprintf(w, "dump of commit %d, %d records; the metadata goes to commit %d\n", d.Sequence, d.Records, r.Present)
	} else {
		fmt.Fprintf(w, "checkpoint %s of %s, commit %d; the metadata goes to commit %d\n", r.Checkpoint.Name, localTime(r.Checkpoint.Time), r.Checkpoint.Sequence, r.Present)
	}
	if r.PresentError != "" {
		fmt.Fprintf(w, "what changed since is not known: %s\n", r.PresentError)
	}
	items(w, "made since, and lost:", r.Lost)
	items(w, "deleted since, and back again:", r.Returned)
	items(w, "written since; keep what was overwritten, lose what was written for the first time:", r.Written)
	items(w, "reclaimed since, and missing:", missingText(r.Missing))
	items(w, "layers that it does not know, which are kept aside:", r.Strays)
	if !r.Done {
		fmt.Fprintln(w, "nothing was changed; with --yes it is done")
		return
	}
	fmt.Fprintf(w, "done; what was replaced is kept in %s\nAll volumes have a new epoch: restart their servers.\n", r.Aside)
}

func acceptTail(c *call) error {
	return offline(c, func(ctx context.Context, dir string) (blockstore.TailReport, error) {
		return daemon.AcceptTail(ctx, dir, c.Bool("yes"))
	}, func(w io.Writer, r blockstore.TailReport) {
		fmt.Fprintf(w, "the metadata ends at commit %d; commit %d was durable: %d are lost\n", r.Present, r.Durable, r.Durable-r.Present)
		items(w, "volumes that may have lost flushed writes:", r.Volumes)
		items(w, "trimmed or deleted in them; reads as zero:", missingText(r.Missing))
		items(w, "layers without a record, which are kept:", r.Strays)
		if r.Done {
			fmt.Fprintln(w, "accepted. All volumes have a new epoch: check their file systems and restart their servers.")
		} else {
			fmt.Fprintln(w, "nothing was changed; with --yes it is accepted")
		}
	})
}

func missingText(missing []blockstore.MissingData) (list []string) {
	for _, m := range missing {
		list = append(list, fmt.Sprintf("%s: %s", m.Disk, exactSize(m.Bytes)))
	}
	return list
}

// items prints a list with a heading, if there is any.
func items(w io.Writer, heading string, list []string) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w, heading)
	for _, item := range list {
		fmt.Fprintf(w, "  %s\n", item)
	}
}
