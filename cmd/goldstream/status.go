package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func statusCommand() *cli.Command {
	return verb{
		reads: true, name: "status", usage: "show what serves the data directory and how full it is",
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
				{"space", spaceState(s.Space)},
				{"reserve", humanSize(s.Space.Reserve)},
				{"ballast", ballastText(s.Space.Ballast)},
				{"allocated", humanSize(s.Space.Allocated)},
				{"metadata", humanSize(s.Space.Metadata)},
				{"provisioned", fmt.Sprintf("%s, %.1f times the disk", humanSize(s.Space.Provisioned), s.Space.Overcommit)},
			})
		})
	})
}

// spaceState says how full the store is and what that means.
func spaceState(s blockstore.SpaceInfo) string {
	text := s.State
	switch s.State {
	case blockstore.SpaceLow:
		text += ": no new volumes and images below " + humanSize(s.RefuseBelow)
	case blockstore.SpaceFull:
		text += ": first writes of blocks wait"
	}
	if s.MetadataWaits {
		text += ", flushes and deletes too"
	}
	if s.Stalled > 0 {
		text += fmt.Sprintf(" (%d writes wait now)", s.Stalled)
	}
	return text
}

func ballastText(n int64) string {
	if n == 0 {
		return "none"
	}
	return humanSize(n)
}

func versionOf() v1.Version {
	return v1.Version{Version: programVersion(), Go: runtime.Version()}
}
