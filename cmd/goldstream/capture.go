package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func captureCommand() *cli.Command {
	return verb{
		name: "capture", args: "VOLUME", usage: "make a golden image of a volume: the steps of a capture plan run on a clone of it, as a task",
		examples: []string{
			"goldstream capture web-1 --plan generalize --name debian-12-tuned",
			"goldstream capture web-1 --plan generalize --name debian-12-tuned --dry-run",
		},
		flags: append([]cli.Flag{
			&cli.StringFlag{Name: "plan", Usage: "`NAME` of a build plan of type capture (default: the volume is taken as it is)"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the golden image"},
			&cli.BoolFlag{Name: "dry-run", Usage: "check all and show the program; make nothing"},
			&cli.BoolFlag{Name: "no-wait", Usage: "print the task and return; needs a running daemon"},
			requestIDFlag(),
		}, sandboxFlags()...),
		action: capture, complete: names{volumeNames},
	}.command()
}

func capture(c *call) error {
	req := v1.CaptureByPlan{Volume: c.arg(0), Plan: c.String("plan"), Name: c.String("name")}
	if req.Name == "" {
		return usagef("capture: name the golden image with --name")
	}
	return c.with(false, func(client *v1.Client) error {
		if c.Bool("dry-run") {
			p, err := client.PreviewCapture(c.ctx, req)
			if err != nil {
				return err
			}
			return c.print(p, func(w io.Writer) {
				fmt.Fprintf(w, "golden image %s of a clone of volume %s; nothing was made\n\n%s", p.Name, req.Volume, p.Text)
			})
		}
		t, err := client.Capture(c.ctx, req, c.requestID())
		if err != nil {
			return err
		}
		if c.Bool("no-wait") {
			return c.printTask(t)
		}
		var info blockstore.ImageInfo
		if err := c.taskResult(client, t, &info); err != nil {
			return err
		}
		return c.printImage(info)
	})
}
