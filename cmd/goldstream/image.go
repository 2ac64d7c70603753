package main

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func imageCommands() []*cli.Command {
	verbs := []verb{
		{
			name: "import", args: "NAME SOURCE", usage: "make a golden image of a disk image",
			examples: []string{
				"goldstream image import debian-13 debian-13.raw.zst",
				"curl -sL https://example.org/disk.img.gz | goldstream image import debian-13 -",
			},
			flags:  []cli.Flag{ownerFlag(), requestIDFlag()},
			action: importImage,
		},
		{
			reads: true, name: "list", usage: "list golden images",
			examples: []string{"goldstream image list", "goldstream image list --json"},
			action:   listImages,
		},
		{
			reads: true, name: "inspect", args: "NAME", usage: "show one golden image",
			examples: []string{"goldstream image inspect debian-13"},
			action:   inspectImage, complete: names{imageNames},
		},
		{
			reads: true, name: "export", args: "NAME DEST", usage: "write a golden image to a file, a device or, as -, to standard output",
			examples: []string{
				"goldstream image export debian-13 debian-13.raw",
				"goldstream image export debian-13 debian-13.raw.zst",
				"goldstream image export debian-13 - --format zstd | ssh other goldstream image import debian-13 -",
			},
			flags:  []cli.Flag{formatFlag()},
			action: exportImage, complete: names{imageNames},
		},
		{
			reads: true, name: "verify", args: "NAME", usage: "read a golden image and compare it with its checksums",
			examples: []string{"goldstream image verify debian-13"},
			action:   verifyImage, complete: names{imageNames},
		},
		{
			name: "repair", args: "NAME SOURCE", usage: "write what is damaged of a golden image anew, from another copy of it of any format",
			examples: []string{
				"goldstream image repair debian-13 debian-13.raw.zst",
				"ssh other goldstream image export debian-13 - --format zstd | goldstream image repair debian-13 -",
			},
			action: repairImage, complete: names{imageNames},
		},
		{
			reads: true, name: "digest", args: "NAME", usage: "show the content id of a golden image, and with --sha256 the digest of its raw disk",
			examples: []string{"goldstream image digest debian-13", "goldstream image digest debian-13 --sha256"},
			flags:    []cli.Flag{&cli.BoolFlag{Name: "sha256", Usage: "the SHA-256 of the raw disk too, as sha256sum prints it: reads all of its size where it is not known"}},
			action:   digestImage, complete: names{imageNames},
		},
		{
			name: "delete", args: "NAME", usage: "delete a golden image; volumes made from it stay",
			examples: []string{"goldstream image delete debian-12"},
			flags:    []cli.Flag{requestIDFlag()},
			action:   deleteImage, complete: names{imageNames},
		},
		{
			name: "capture", args: "NAME", usage: "make a golden image of a volume, or of a snapshot of it",
			examples: []string{
				"goldstream image capture debian-13-tuned --volume web-1",
				"goldstream image capture debian-13-tuned --volume web-1 --snapshot tuned",
			},
			flags: []cli.Flag{
				&cli.StringFlag{Name: "volume", Usage: "`NAME` of the volume"},
				&cli.StringFlag{Name: "snapshot", Usage: "`NAME` of a snapshot of it (default: what it holds now)"},
				ownerFlag(), requestIDFlag(),
			},
			action: captureImage,
		},
	}
	return commands(verbs)
}

func commands(verbs []verb) []*cli.Command {
	var list []*cli.Command
	for _, v := range verbs {
		list = append(list, v.command())
	}
	return list
}

func imageNames(c *call) []string {
	return daemonNames(c, (*v1.Client).Images, func(i blockstore.ImageInfo) string { return i.Name })
}

func listImages(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		images, err := client.Images(c.ctx)
		if err != nil {
			return err
		}
		return c.print(images, func(w io.Writer) {
			fmt.Fprintln(w, "NAME\tSIZE\tDATA\tCLONES\tCREATED")
			for _, i := range images {
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", i.Name, humanSize(i.Size), humanSize(i.Allocated), i.Clones, localTime(i.Created))
			}
		})
	})
}

func inspectImage(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		info, err := client.Image(c.ctx, c.arg(0))
		if err != nil {
			return err
		}
		return c.printImage(info)
	})
}

func (c *call) printImage(i blockstore.ImageInfo) error {
	return c.print(i, func(w io.Writer) {
		fields(w, [][2]string{
			{"name", i.Name},
			{"id", i.ID},
			{"size", exactSize(i.Size)},
			{"data", exactSize(i.Allocated)},
			{"format", i.Format},
			{"created", localTime(i.Created)},
			{"content id", i.ContentID},
			{"sha256", i.SHA256},
			{"clones", fmt.Sprint(i.Clones)},
			{"owner", i.Owner},
		})
	})
}

// fields writes a line for each field that has a value.
func fields(w io.Writer, list [][2]string) {
	for _, f := range list {
		if f[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", f[0], f[1])
		}
	}
}

func exactSize(n int64) string {
	if n < 1024 {
		return humanSize(n)
	}
	return fmt.Sprintf("%s (%d bytes)", humanSize(n), n)
}

func localTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func deleteImage(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		if err := client.DeleteImage(c.ctx, c.arg(0), c.requestID()); err != nil {
			return err
		}
		return c.printDeleted("golden image", c.arg(0))
	})
}

// deleted is what a delete prints as JSON.
type deleted struct {
	Name    string `json:"name"`
	Deleted bool   `json:"deleted"`
	Keep    string `json:"keep,omitempty"` // how long it can be restored
}

func (c *call) printDeleted(what, name string) error {
	return c.print(deleted{Name: name, Deleted: true}, func(w io.Writer) {
		fmt.Fprintf(w, "deleted %s %s\n", what, name)
	})
}

func captureImage(c *call) error {
	volume := c.String("volume")
	if volume == "" {
		return usagef("image capture: name the volume with --volume")
	}
	return c.with(false, func(client *v1.Client) error {
		m := newMeter(c.err, "capture "+c.arg(0))
		defer m.done()
		req := v1.CaptureRequest{Volume: volume, Snapshot: c.String("snapshot"), Owner: c.String("owner")}
		info, err := client.CaptureImage(c.ctx, c.arg(0), req, m.show, c.requestID())
		if err != nil {
			return err
		}
		m.done()
		return c.printImage(info)
	})
}
