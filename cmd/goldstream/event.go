package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
)

func eventCommands() []*cli.Command {
	return commands([]verb{{
		name: "list", usage: "list the audit trail: who changed which resource, why, and by which task; the oldest first",
		examples: []string{"goldstream event list", "goldstream event list --behind 120 --json"},
		flags:    []cli.Flag{&cli.Uint64Flag{Name: "behind", Usage: "begin behind the event of this `NUMBER`"}},
		action:   listEvents,
	}})
}

func listEvents(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		list, err := client.Audit(c.ctx, c.Uint64("behind"))
		for n := len(list); n > 0 && err == nil; {
			more, e := client.Audit(c.ctx, list[len(list)-1].Sequence)
			n, err = len(more), e
			list = append(list, more...)
		}
		if err != nil {
			return err
		}
		return c.print(list, func(w io.Writer) {
			fmt.Fprintln(w, "NUMBER\tTIME\tWHO\tWHY\tTASK\tCHANGES")
			for _, e := range list {
				var changes []string
				for _, ch := range e.Changes {
					changes = append(changes, fmt.Sprintf("%s %s %s", ch.Op, strings.TrimSuffix(string(ch.URI.Kind()), "s"), ch.Name))
				}
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", e.Sequence, localTime(e.Time), e.Cause.Who, e.Cause.Why, orDash(e.Cause.Task), strings.Join(changes, ", "))
			}
		})
	})
}
