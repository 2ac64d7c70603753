package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/personalize/attribute"
)

func deployCommand() *cli.Command {
	return verb{
		name: "deploy", usage: "make an OS volume by a deployment plan, as a task",
		examples: []string{
			"goldstream deploy --plan debian-12 --name web-1",
			"goldstream deploy --plan debian-12 --name web-1 --set HostName=web-1 --set-file RootPassword=/run/secret --dry-run",
		},
		flags: append([]cli.Flag{
			&cli.StringFlag{Name: "plan", Usage: "`NAME` of the deployment plan"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the volume, and of the server where plans ask for it"},
			&cli.StringSliceFlag{Name: "set", Usage: "`ATTRIBUTE=VALUE`; may be repeated"},
			&cli.StringSliceFlag{Name: "set-file", Usage: "`ATTRIBUTE=FILE` whose first line is the value, which no list of processes then shows; may be repeated"},
			&cli.BoolFlag{Name: "dry-run", Usage: "check the values and show the program, secrets masked; make nothing"},
			&cli.BoolFlag{Name: "as-is", Usage: "leave host keys, machine ID, leases, logs and the like of the image on the volume; without it they are removed first, unless the plan has a generalize step of its own"},
			&cli.BoolFlag{Name: "keep", Usage: "keep the volume if a step fails, as the step left it, to be looked at"},
			&cli.BoolFlag{Name: "no-wait", Usage: "print the task and return; needs a running daemon"},
			requestIDFlag(),
		}, sandboxFlags()...),
		action: deploy,
	}.command()
}

func deploy(c *call) error {
	req := v1.DeployRequest{Plan: c.String("plan"), Name: c.String("name"), Keep: c.Bool("keep"), AsIs: c.Bool("as-is")}
	if req.Plan == "" || req.Name == "" {
		return usagef("deploy: name the deployment plan with --plan and the volume with --name")
	}
	var err error
	if req.Values, err = settings(c.StringSlice("set"), c.StringSlice("set-file")); err != nil {
		return err
	}
	return c.with(false, func(client *v1.Client) error {
		if c.Bool("dry-run") {
			return c.preview(client, req)
		}
		t, err := client.Deploy(c.ctx, req, c.requestID())
		if err != nil {
			return err
		}
		if c.Bool("no-wait") {
			return c.printTask(t)
		}
		if t, err = c.follow(c.ctx, client, t, false); err != nil {
			return err
		}
		if err := taskError(t); err != nil {
			return err
		}
		info, err := client.Volume(c.ctx, req.Name)
		if err != nil {
			return err
		}
		return c.printVolume(info)
	})
}

func (c *call) preview(client *v1.Client, req v1.DeployRequest) error {
	p, err := client.Preview(c.ctx, req)
	if err != nil {
		return err
	}
	return c.print(p, func(w io.Writer) {
		image := p.Image
		if image == "" {
			image = "an empty disk"
		}
		fmt.Fprintf(w, "volume %s from %s by plan %s; nothing was made\n", p.Name, image, p.Plan)
		for _, v := range p.Values {
			fmt.Fprintf(w, "%s = %s\n", v.Name, v.Shown())
		}
		if p.Text != "" {
			fmt.Fprintf(w, "\n%s", p.Text)
		}
	})
}

func settings(set, files []string) (values []attribute.Value, err error) {
	for _, s := range set {
		name, text, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, usagef("deploy: --set %q: write ATTRIBUTE=VALUE", s)
		}
		values = append(values, attribute.NewValue(name, "", text))
	}
	for _, s := range files {
		name, path, ok := strings.Cut(s, "=")
		if !ok || name == "" || path == "" {
			return nil, usagef("deploy: --set-file %q: write ATTRIBUTE=FILE", s)
		}
		text, err := firstLine(path)
		if err != nil {
			return nil, err
		}
		values = append(values, attribute.NewValue(name, "", text))
	}
	return values, nil
}

func firstLine(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, attribute.MaxValue+1))
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(line, "\r"), err
}
