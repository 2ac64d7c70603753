package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
)

func statusCommand() *cli.Command {
	return verb{
		name: "status", usage: "show what serves the data directory and how full it is",
		examples: []string{"goldstream status"},
		action:   showStatus,
	}.command()
}

func showStatus(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		s, err := client.Status(c.ctx)
		if err != nil {
			return err
		}
		return c.print(s, func(w io.Writer) {
			fields(w, [][2]string{
				{"version", s.Version},
				{"pid", fmt.Sprint(s.PID)},
				{"started", localTime(s.Started)},
				{"data", s.Data},
				{"nbd", orDash(strings.Join(s.NBD, " "))},
				{"images", fmt.Sprint(s.Images)},
				{"volumes", fmt.Sprint(s.Volumes)},
				{"free", humanSize(s.Free) + " of " + humanSize(s.Total)},
			})
		})
	})
}

func versionOf() v1.Version {
	return v1.Version{Version: programVersion(), Go: runtime.Version()}
}
