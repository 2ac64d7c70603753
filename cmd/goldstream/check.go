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
		name: "check", usage: "see whether all records of the store resolve and agree with its files, and change nothing; the daemon must be stopped",
		examples: []string{"goldstream check", "goldstream check --json"},
		action:   checkStore,
	}.command()
}

func checkStore(c *call) error {
	dir := c.String("data")
	if err := checkOwner(dir); err != nil {
		return err
	}
	report, err := daemon.CheckStore(c.ctx, dir)
	if err != nil {
		return explainOwner(dir, err)
	}
	return errors.Join(c.print(report, func(w io.Writer) { showCheck(w, report) }), found(report))
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
	fmt.Fprintf(w, "%d damaged, %d warnings: %d disks, %d records, %d data files checked\n",
		r.Damage, len(r.Findings)+r.More-r.Damage, r.Disks, r.Records, r.Files)
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
