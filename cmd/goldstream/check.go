package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/daemon"
)

func checkCommand() *cli.Command {
	return verb{
		name: "check", usage: "see whether all records of the store resolve and agree with its files, and change nothing; the daemon may run",
		examples: []string{"goldstream check", "goldstream check --json"},
		action:   checkStore,
	}.command()
}

func checkStore(c *call) error {
	report, err := checkWhole(c)
	if err != nil {
		return err
	}
	return errors.Join(c.print(report, func(w io.Writer) { showCheck(w, report) }), found(report))
}

// checkWhole has the daemon check its store, or checks one that nobody has open.
func checkWhole(c *call) (blockstore.CheckReport, error) {
	dir := c.String("data")
	conn, err := c.reachDaemon(dir)
	if err != nil {
		return blockstore.CheckReport{}, err
	}
	if conn != nil {
		m := newMeter(c.err, "check")
		report, err := conn.CheckStore(c.ctx, m.show)
		m.done()
		return report, errors.Join(err, conn.close())
	}
	if err := checkOwner(dir); err != nil {
		return blockstore.CheckReport{}, err
	}
	report, err := daemon.CheckStore(c.ctx, dir)
	if err != nil {
		err = explainOwner(dir, err)
	}
	return report, err
}

func showCheck(w io.Writer, r blockstore.CheckReport) {
	if len(r.Findings) > 0 {
		fmt.Fprintln(w, "SEVERITY\tWHAT\tWHERE\tBYTES\tDISKS\tWHY")
	}
	for _, f := range r.Findings {
		bytes := "-"
		if f.Bytes > 0 {
			bytes = humanSize(f.Bytes)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", f.Severity, f.Kind, f.Where, bytes, orDash(strings.Join(f.Disks, ", ")), f.What)
	}
	if r.More > 0 {
		fmt.Fprintf(w, "and %d more\n", r.More)
	}
	service := ""
	if r.InService {
		service = ", in service"
	}
	fmt.Fprintf(w, "%d damaged, %d warnings: %d disks, %d records, %d data files checked%s\n",
		r.Damage, len(r.Findings)+r.More-r.Damage, r.Disks, r.Records, r.Files, service)
}

// found is the error of a report that lists damage; warnings are none.
func found(r blockstore.CheckReport) error {
	if r.Damage == 0 {
		return nil
	}
	return &v1.Error{
		Code:    v1.CodeDamaged,
		Message: fmt.Sprintf("the store is damaged in %d places", r.Damage),
		Advice:  "Nothing was changed. Check the disk below the data directory; docs/recovery.md says what mends what.",
	}
}
