package main

import (
	"errors"
	"fmt"
	"io"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func verifyImage(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		m := newMeter(c.err, "verify "+c.arg(0))
		rep, err := client.VerifyImage(c.ctx, c.arg(0), m.show)
		m.done()
		if err != nil {
			return err
		}
		return errors.Join(c.printReport(rep), damage(rep))
	})
}

func (c *call) printReport(rep blockstore.VerifyReport) error {
	return c.print(rep, func(w io.Writer) {
		if len(rep.Bad) == 0 {
			fmt.Fprintf(w, "%s: good, %s checked\n", rep.Image, humanSize(rep.Checked))
			return
		}
		fmt.Fprintln(w, "OFFSET\tLENGTH\tREASON")
		for _, b := range rep.Bad {
			fmt.Fprintf(w, "%d\t%d\t%s\n", b.Offset, b.Length, b.Reason)
		}
	})
}

// damage is the error of a report that lists damage.
func damage(rep blockstore.VerifyReport) error {
	if len(rep.Bad) == 0 {
		return nil
	}
	return &v1.Error{
		Code:    v1.CodeDamaged,
		Message: fmt.Sprintf("golden image %s is damaged in %d places", rep.Image, len(rep.Bad)),
		Advice:  "Volumes made from it read the damage where they have not been written. Import the image anew and check the disk below the data directory.",
	}
}
