package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func volumeCommands() []*cli.Command {
	size := func(usage string) cli.Flag { return &cli.StringFlag{Name: "size", Usage: usage} }
	return commands([]verb{
		{
			name: "create", args: "NAME", usage: "clone a golden image into a volume",
			examples: []string{
				"goldstream volume create web-1 --image debian-13 --size 40GiB",
				"goldstream volume create scratch-1 --size 1TiB",
			},
			flags: []cli.Flag{
				&cli.StringFlag{Name: "image", Usage: "golden `IMAGE` to clone; without one the volume is empty"},
				size("`SIZE`, such as 40GiB (default: the image's)"),
				ownerFlag(), requestIDFlag(),
			},
			action: createVolume,
		},
		{
			name: "list", usage: "list volumes",
			examples: []string{"goldstream volume list", "goldstream volume list --json"},
			action:   listVolumes,
		},
		{
			name: "inspect", args: "NAME", usage: "show one volume",
			examples: []string{"goldstream volume inspect web-1"},
			action:   inspectVolume, complete: volumeNames,
		},
		{
			name: "grow", args: "NAME", usage: "make a volume larger",
			examples: []string{"goldstream volume grow web-1 --size 80GiB"},
			flags:    []cli.Flag{size("new `SIZE`, such as 80GiB")},
			action:   growVolume, complete: volumeNames,
		},
		{
			name: "delete", args: "NAME", usage: "delete a volume",
			examples: []string{"goldstream volume delete web-1"},
			flags:    []cli.Flag{requestIDFlag()},
			action:   deleteVolume, complete: volumeNames,
		},
	})
}

func volumeNames(c *call) []string {
	return c.daemonNames(func(ctx context.Context, client *v1.Client) ([]string, error) {
		volumes, err := client.Volumes(ctx)
		var names []string
		for _, v := range volumes {
			names = append(names, v.Name)
		}
		return names, err
	})
}

func createVolume(c *call) error {
	req := v1.CreateRequest{Name: c.arg(0), Image: c.String("image"), Owner: c.String("owner")}
	if c.IsSet("size") {
		size, err := parseSize(c.String("size"))
		if err != nil {
			return err
		}
		req.Size = size
	}
	if req.Image == "" && req.Size == 0 {
		return usagef("volume create: name a golden image with --image, or a size with --size for an empty volume")
	}
	return c.with(req.Image == "", func(client *v1.Client) error {
		info, err := client.CreateVolume(c.ctx, req, c.requestID())
		if err != nil {
			return err
		}
		return c.printVolume(info)
	})
}

func listVolumes(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		volumes, err := client.Volumes(c.ctx)
		if err != nil {
			return err
		}
		return c.print(volumes, func(w io.Writer) {
			fmt.Fprintln(w, "NAME\tSIZE\tOWN DATA\tIMAGE\tOPEN\tCREATED")
			for _, v := range volumes {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", v.Name, humanSize(v.Size), humanSize(v.Allocated), orDash(v.Image), v.Open, localTime(v.Created))
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
			{"image", v.Image},
			{"image id", v.ImageID},
			{"created", localTime(v.Created)},
			{"epoch", fmt.Sprint(v.Epoch)},
			{"open", fmt.Sprint(v.Open)},
			{"owner", v.Owner},
		})
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

func deleteVolume(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		if err := client.DeleteVolume(c.ctx, c.arg(0), c.requestID()); err != nil {
			return err
		}
		return c.printDeleted("volume", c.arg(0))
	})
}
