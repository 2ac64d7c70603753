package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func spaceCommand() *cli.Command {
	return verb{
		reads: true, name: "space", usage: "show what each disk takes and what it shares with others",
		examples: []string{"goldstream space", "goldstream space --json"},
		action:   showSpace,
	}.command()
}

func showSpace(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		u, err := client.Usage(c.ctx)
		if err != nil {
			return err
		}
		return c.print(u, func(w io.Writer) { spaceTable(w, u) })
	})
}

// spaceTable ends in a line for all: its exclusive part is what the data of all
// takes, retired volumes among them.
func spaceTable(w io.Writer, u blockstore.UsageReport) {
	fmt.Fprintln(w, "KIND\tNAME\tLOGICAL\tMAPPED\tEXCLUSIVE\tSHARED")
	all := blockstore.Usage{Kind: "total", Name: "-", Exclusive: u.Data}
	for _, d := range u.Disks {
		spaceLine(w, d)
		all.Logical += d.Logical
		all.Mapped += d.Mapped
	}
	spaceLine(w, all)
}

func spaceLine(w io.Writer, d blockstore.Usage) {
	// A volume goes with its snapshots, which may take more than it maps.
	shared := max(0, d.Mapped-d.Exclusive)
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Kind, d.Name, humanSize(d.Logical), humanSize(d.Mapped), humanSize(d.Exclusive), humanSize(shared))
}
