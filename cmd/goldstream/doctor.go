package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"goldstream/doctor"
)

func doctorCommand() *cli.Command {
	return verb{
		name: "doctor", usage: "see what this host lacks for goldstream, and what to do; it fails if a feature does not work",
		examples: []string{"goldstream doctor", "goldstream doctor --json"},
		action:   examineHost,
	}.command()
}

// health is what doctor prints as JSON.
type health struct {
	Missing  int              `json:"missing"`
	Findings []doctor.Finding `json:"findings"`
}

func examineHost(c *call) error {
	list := doctor.Examine(c.ctx, doctor.ThisHost{}, c.String("data"))
	h := health{Missing: doctor.Lacking(list), Findings: list}
	if err := c.print(h, func(w io.Writer) { showHealth(w, list) }); err != nil {
		return err
	}
	if h.Missing > 0 {
		return fmt.Errorf("this host lacks %d of what goldstream can use; the rest works", h.Missing)
	}
	return nil
}

func showHealth(w io.Writer, list []doctor.Finding) {
	fmt.Fprintln(w, "CHECK\tSTATE\tFOUND")
	for _, f := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Check, f.State, f.Found)
		if f.Cure != "" {
			fmt.Fprintf(w, "\t\tfor %s: %s\n", f.For, f.Cure)
		}
	}
}
