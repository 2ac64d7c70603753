package main

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
)

func connectionsCommand() *cli.Command {
	return verb{
		name: "connections", usage: "show the NBD clients, what they have open and what they did",
		examples: []string{"goldstream connections", "goldstream connections --exports"},
		flags:    []cli.Flag{&cli.BoolFlag{Name: "exports", Usage: "one line for each export, all its clients together"}},
		action:   showConnections,
	}.command()
}

func showConnections(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		l, err := client.Connections(c.ctx)
		if err != nil {
			return err
		}
		return c.print(l, func(w io.Writer) {
			if c.Bool("exports") {
				printExports(w, l.Exports)
			} else {
				printConnections(w, l.Connections)
			}
		})
	})
}

func printConnections(w io.Writer, list []v1.Connection) {
	fmt.Fprintln(w, "EXPORT\tEPOCH\tPEER\tTLS\tSINCE\tREADS\tREAD P99\tWRITES\tWRITE P99\tBYTES\tIN FLIGHT\tERRORS\tSLOW")
	for _, c := range list {
		s := c.Statistics
		_, bytes := s.Total()
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\t%d\t%d\t%d\n", c.Export, cmp.Or(c.Epoch, "-"), c.Peer, yesNo(c.TLS), localTime(c.Since),
			s.Reads.Count, micros(s.Reads), s.Writes.Count, micros(s.Writes), humanSize(bytes), c.InFlight, s.Errors, s.Slow)
	}
}

func printExports(w io.Writer, list []v1.ExportInUse) {
	fmt.Fprintln(w, "EXPORT\tCLIENTS\tREADS\tREAD P99\tWRITES\tWRITE P99\tFLUSHES\tFLUSH P99\tBYTES\tERRORS\tSLOW")
	for _, e := range list {
		s := e.Statistics
		_, bytes := s.Total()
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%d\t%s\t%d\t%s\t%s\t%d\t%d\n", e.Export, e.Connections,
			s.Reads.Count, micros(s.Reads), s.Writes.Count, micros(s.Writes), s.Flushes.Count, micros(s.Flushes),
			humanSize(bytes), s.Errors, s.Slow)
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// micros is the 99th percentile of what took any time.
func micros(o v1.Operations) string {
	if o.Count == 0 {
		return "-"
	}
	return "<" + (time.Duration(o.P99) * time.Microsecond).String()
}
