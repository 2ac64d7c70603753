package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func snapshotCommands() []*cli.Command {
	return commands([]verb{
		{
			name: "create", args: "VOLUME NAME", usage: "keep what a volume holds now under a name",
			examples: []string{"goldstream snapshot create web-1 before-upgrade"},
			flags:    []cli.Flag{ownerFlag(), requestIDFlag()},
			action:   createSnapshot, complete: names{volumeNames},
		},
		{
			reads: true, name: "list", args: "VOLUME", usage: "list the snapshots of a volume, oldest first",
			examples: []string{"goldstream snapshot list web-1", "goldstream snapshot list web-1 --json"},
			action:   listSnapshots, complete: names{volumeNames},
		},
		{
			name: "delete", args: "VOLUME NAME", usage: "delete a snapshot; volumes made from it stay",
			examples: []string{"goldstream snapshot delete web-1 before-upgrade"},
			flags:    []cli.Flag{requestIDFlag()},
			action:   deleteSnapshot, complete: names{volumeNames, snapshotNames},
		},
		{
			name: "prune", args: "VOLUME", usage: "delete the snapshots that no rule keeps",
			examples: []string{
				"goldstream snapshot prune web-1 --keep-last 3 --keep-daily 7 --keep-weekly 4 --dry-run",
				"goldstream snapshot prune web-1 --keep-hourly 24 --owner cron",
			},
			flags: []cli.Flag{
				&cli.IntFlag{Name: "keep-last", Usage: "keep the newest `N`"},
				&cli.IntFlag{Name: "keep-hourly", Usage: "keep the newest of each of the last `N` hours that have one"},
				&cli.IntFlag{Name: "keep-daily", Usage: "the same for `N` days"},
				&cli.IntFlag{Name: "keep-weekly", Usage: "the same for `N` weeks, which begin on Monday"},
				&cli.IntFlag{Name: "keep-monthly", Usage: "the same for `N` months"},
				&cli.IntFlag{Name: "keep-yearly", Usage: "the same for `N` years"},
				&cli.StringFlag{Name: "owner", Usage: "look only at snapshots of the owner `LABEL`"},
				&cli.BoolFlag{Name: "dry-run", Usage: "delete nothing, say what would be deleted"},
			},
			action: pruneSnapshots, complete: names{volumeNames},
		},
		{
			reads: true, name: "export", args: "VOLUME NAME DEST", usage: "write a snapshot to a file, a device or, as -, to standard output",
			examples: []string{
				"goldstream snapshot export web-1 before-upgrade web-1.raw",
				"goldstream snapshot export web-1 before-upgrade web-1.raw.zst",
			},
			flags:  []cli.Flag{formatFlag()},
			action: exportSnapshot, complete: names{volumeNames, snapshotNames},
		},
	})
}

// snapshotNames are those of the volume that the first argument names.
func snapshotNames(c *call) []string {
	return daemonNames(c, func(client *v1.Client, ctx context.Context) ([]blockstore.SnapshotInfo, error) {
		return client.Snapshots(ctx, c.arg(0))
	}, func(sn blockstore.SnapshotInfo) string { return sn.Name })
}

func createSnapshot(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		info, err := client.CreateSnapshot(c.ctx, c.arg(0), v1.SnapshotRequest{Name: c.arg(1), Owner: c.String("owner")}, c.requestID())
		if err != nil {
			return err
		}
		return c.print(info, func(w io.Writer) {
			fields(w, [][2]string{
				{"volume", info.Volume},
				{"name", info.Name},
				{"id", info.ID},
				{"size", exactSize(info.Size)},
				{"created", localTime(info.Created)},
				{"owner", info.Owner},
			})
		})
	})
}

func listSnapshots(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		snapshots, err := client.Snapshots(c.ctx, c.arg(0))
		if err != nil {
			return err
		}
		return c.print(snapshots, func(w io.Writer) { snapshotTable(w, snapshots) })
	})
}

func snapshotTable(w io.Writer, snapshots []blockstore.SnapshotInfo) {
	fmt.Fprintln(w, "NAME\tSIZE\tCLONES\tOWNER\tCAUSE\tCREATED")
	for _, sn := range snapshots {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", sn.Name, humanSize(sn.Size), sn.Clones, orDash(sn.Owner), orDash(sn.Cause), localTime(sn.Created))
	}
}

func deleteSnapshot(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		if err := client.DeleteSnapshot(c.ctx, c.arg(0), c.arg(1), c.requestID()); err != nil {
			return err
		}
		return c.printDeleted("snapshot", c.arg(0)+"/"+c.arg(1))
	})
}

func pruneSnapshots(c *call) error {
	req := v1.PruneRequest{
		Keep: blockstore.Retention{
			Last: c.Int("keep-last"), Hourly: c.Int("keep-hourly"), Daily: c.Int("keep-daily"),
			Weekly: c.Int("keep-weekly"), Monthly: c.Int("keep-monthly"), Yearly: c.Int("keep-yearly"),
		},
		Owner:  c.String("owner"),
		DryRun: c.Bool("dry-run"),
	}
	if req.Keep == (blockstore.Retention{}) {
		return usagef("snapshot prune: say what to keep, such as --keep-last 3 or --keep-daily 7; without a rule all snapshots would go")
	}
	return c.with(false, func(client *v1.Client) error {
		pruned, err := client.PruneSnapshots(c.ctx, c.arg(0), req)
		if err != nil {
			return err
		}
		return c.print(pruned, func(w io.Writer) {
			if len(pruned.Deleted) == 0 {
				fmt.Fprintf(w, "volume %s has no snapshot to delete\n", c.arg(0))
				return
			}
			snapshotTable(w, pruned.Deleted)
			verb := "deleted"
			if pruned.DryRun {
				verb = "would be deleted"
			}
			fmt.Fprintf(w, "%s: %d of volume %s\n", verb, len(pruned.Deleted), c.arg(0))
		})
	})
}

func exportSnapshot(c *call) error {
	volume, name := c.arg(0), c.arg(1)
	return c.export(exported{Snapshot: volume + "/" + name, Dest: c.arg(2)}, func(client *v1.Client, start startFunc) (int64, error) {
		return client.ExportSnapshot(c.ctx, volume, name, start)
	})
}

func rollBackVolume(c *call) error {
	req := v1.RollbackRequest{Snapshot: c.arg(1), As: c.String("as"), Owner: c.String("owner"), Disconnect: c.Bool("disconnect"), Discard: c.Bool("discard")}
	return c.with(false, func(client *v1.Client) error {
		kept, err := client.RollBack(c.ctx, c.arg(0), req, c.requestID())
		if err != nil {
			return shutDownFirst(err, req.Disconnect)
		}
		return c.print(kept, func(w io.Writer) {
			if kept.Name == "" {
				fmt.Fprintf(w, "volume %s reads as its snapshot %s again; what it held is given up, since its disk fails\n", c.arg(0), c.arg(1))
				return
			}
			fmt.Fprintf(w, "volume %s reads as its snapshot %s again; what it held is kept as snapshot %s\n", c.arg(0), c.arg(1), kept.Name)
		})
	})
}
