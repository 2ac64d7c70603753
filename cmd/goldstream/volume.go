package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func volumeCommands() []*cli.Command {
	size := func(usage string) cli.Flag { return &cli.StringFlag{Name: "size", Usage: usage} }
	return commands([]verb{
		{
			name: "create", args: "NAME", usage: "clone a golden image or a snapshot into a volume",
			examples: []string{
				"goldstream volume create web-1 --image debian-13 --size 40GiB",
				"goldstream volume create web-1-test --snapshot web-1/before-upgrade",
				"goldstream volume create scratch-1 --size 1TiB",
			},
			flags: []cli.Flag{
				&cli.StringFlag{Name: "image", Usage: "golden `IMAGE` to clone; without this or --snapshot the volume is empty"},
				&cli.StringFlag{Name: "snapshot", Usage: "`VOLUME/NAME` of a snapshot to clone"},
				size("`SIZE`, such as 40GiB (default: that of what is cloned)"),
				quotaFlag(), ownerFlag(), requestIDFlag(),
			},
			action: createVolume,
		},
		{
			reads: true, name: "list", usage: "list volumes",
			examples: []string{"goldstream volume list", "goldstream volume list --retired", "goldstream volume list --json"},
			flags:    []cli.Flag{&cli.BoolFlag{Name: "retired", Usage: "list deleted volumes that can still be restored"}},
			action:   listVolumes,
		},
		{
			reads: true, name: "inspect", args: "NAME", usage: "show one volume",
			examples: []string{"goldstream volume inspect web-1"},
			action:   inspectVolume, complete: names{volumeNames},
		},
		{
			name: "grow", args: "NAME", usage: "make a volume larger",
			examples: []string{"goldstream volume grow web-1 --size 80GiB"},
			flags:    []cli.Flag{size("new `SIZE`, such as 80GiB")},
			action:   growVolume, complete: names{volumeNames},
		},
		{
			name: "set", args: "NAME", usage: "change what a volume may take",
			examples: []string{"goldstream volume set web-1 --quota 20GiB", "goldstream volume set web-1 --quota none"},
			flags:    []cli.Flag{quotaFlag()},
			action:   setVolume, complete: names{volumeNames},
		},
		{
			name: "delete", args: "NAME", usage: "delete a volume and its snapshots",
			examples: []string{"goldstream volume delete web-1 --keep 72h", "goldstream volume delete web-1"},
			flags: []cli.Flag{
				&cli.StringFlag{Name: "keep", Usage: "`TIME` for which it can be restored, such as 72h or 30d (default: gone at once)"},
				requestIDFlag(),
			},
			action: deleteVolume, complete: names{volumeNames},
		},
		{
			name: "restore", args: "ID|NAME", usage: "bring a retired volume back, with its snapshots",
			examples: []string{"goldstream volume restore web-1", "goldstream volume restore web-1 --as web-1-old"},
			flags:    []cli.Flag{&cli.StringFlag{Name: "as", Usage: "`NAME` that it gets (default: its own)"}, requestIDFlag()},
			action:   restoreVolume, complete: names{retiredNames},
		},
		{
			name: "purge", args: "ID|NAME", usage: "remove a retired volume for good",
			examples: []string{"goldstream volume purge web-1"},
			flags:    []cli.Flag{requestIDFlag()},
			action:   purgeVolume, complete: names{retiredNames},
		},
		{
			name: "rollback", args: "NAME SNAPSHOT", usage: "make a volume read as one of its snapshots again; what it holds now is kept as a snapshot",
			examples: []string{
				"goldstream volume rollback web-1 before-upgrade",
				"goldstream volume rollback web-1 before-upgrade --as broken --disconnect",
			},
			flags: []cli.Flag{
				&cli.StringFlag{Name: "as", Usage: "`NAME` of the snapshot that keeps what it holds now (default: before-rollback-TIME)"},
				disconnectFlag(),
				&cli.BoolFlag{Name: "discard", Usage: "give up what it holds, if it failed and its disk still fails"},
				ownerFlag(), requestIDFlag(),
			},
			action: rollBackVolume, complete: names{volumeNames, snapshotNames},
		},
		acceptLossVerb(), acceptEpochVerb(),
	})
}

func volumeNames(c *call) []string {
	return daemonNames(c, (*v1.Client).Volumes, func(v blockstore.VolumeInfo) string { return v.Name })
}

func createVolume(c *call) error {
	req := v1.CreateRequest{Name: c.arg(0), Image: c.String("image"), Owner: c.String("owner")}
	if err := blockstore.CheckName("a volume", req.Name); err != nil {
		return err
	}
	if c.IsSet("size") {
		size, err := parseSize(c.String("size"))
		if err != nil {
			return err
		}
		if err := blockstore.CheckSize(size); err != nil {
			return err
		}
		req.Size = size
	}
	if c.IsSet("quota") {
		quota, err := parseQuota(c.String("quota"))
		if err != nil {
			return err
		}
		req.Quota = quota
	}
	if c.IsSet("snapshot") {
		var ok bool
		if req.Volume, req.Snapshot, ok = strings.Cut(c.String("snapshot"), "/"); !ok || req.Volume == "" || req.Snapshot == "" {
			return usagef("volume create: --snapshot %q: write VOLUME/NAME", c.String("snapshot"))
		}
	}
	empty := req.Image == "" && req.Snapshot == ""
	if empty && req.Size == 0 {
		return usagef("volume create: name a golden image with --image or a snapshot with --snapshot, or a size with --size for an empty volume")
	}
	return c.with(empty, func(client *v1.Client) error {
		info, err := client.CreateVolume(c.ctx, req, c.requestID())
		if err != nil {
			return err
		}
		return c.printVolume(info)
	})
}

func listVolumes(c *call) error {
	if c.Bool("retired") {
		return listRetired(c)
	}
	return c.with(false, func(client *v1.Client) error {
		volumes, err := client.Volumes(c.ctx)
		if err != nil {
			return err
		}
		return c.print(volumes, func(w io.Writer) {
			fmt.Fprintln(w, "NAME\tSIZE\tOWN DATA\tIMAGE\tSNAPSHOTS\tOPEN\tCREATED")
			for _, v := range volumes {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", v.Name, humanSize(v.Size), humanSize(v.Allocated), orDash(v.Image), v.Snapshots, v.Open, localTime(v.Created))
			}
		})
	})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func inspectVolume(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		info, err := client.Volume(c.ctx, c.arg(0))
		if err != nil {
			return err
		}
		return c.printVolume(info)
	})
}

func (c *call) printVolume(v blockstore.VolumeInfo) error {
	return c.print(v, func(w io.Writer) {
		fields(w, [][2]string{
			{"name", v.Name},
			{"id", v.ID},
			{"size", exactSize(v.Size)},
			{"own data", exactSize(v.Allocated)},
			{"quota", quotaText(v.Quota)},
			{"image", v.Image},
			{"image id", v.ImageID},
			{"snapshots", fmt.Sprint(v.Snapshots)},
			{"created", localTime(v.Created)},
			{"epoch", epochText(v)},
			{"open", fmt.Sprint(v.Open)},
			{"owner", v.Owner},
		})
		printFailure(w, v.Failure)
	})
}

func growVolume(c *call) error {
	if !c.IsSet("size") {
		return usagef("volume grow: name the new size with --size")
	}
	size, err := parseSize(c.String("size"))
	if err != nil {
		return err
	}
	return c.with(false, func(client *v1.Client) error {
		info, err := client.GrowVolume(c.ctx, c.arg(0), size)
		if err != nil {
			return err
		}
		return c.printVolume(info)
	})
}

func quotaFlag() cli.Flag {
	return &cli.StringFlag{Name: "quota", Usage: "most that the volume itself may hold, beside its image: a `SIZE`, such as 20GiB, or none"}
}

// parseQuota reads a size, or "none", which is 0.
func parseQuota(s string) (int64, error) {
	if s == "none" {
		return 0, nil
	}
	n, err := parseSize(s)
	if err == nil && n == 0 {
		err = usagef("a quota of nothing would let the volume hold nothing: write none for no quota")
	}
	return n, err
}

func quotaText(quota int64) string {
	if quota == 0 {
		return "none"
	}
	return exactSize(quota)
}

func setVolume(c *call) error {
	if !c.IsSet("quota") {
		return usagef("volume set: say what to change, with --quota")
	}
	quota, err := parseQuota(c.String("quota"))
	if err != nil {
		return err
	}
	return c.with(false, func(client *v1.Client) error {
		info, err := client.SetQuota(c.ctx, c.arg(0), quota)
		if err != nil {
			return err
		}
		return c.printVolume(info)
	})
}

func deleteVolume(c *call) error {
	if c.IsSet("keep") {
		return retireVolume(c)
	}
	return c.with(false, func(client *v1.Client) error {
		if err := client.DeleteVolume(c.ctx, c.arg(0), c.requestID()); err != nil {
			return err
		}
		return c.printDeleted("volume", c.arg(0))
	})
}
