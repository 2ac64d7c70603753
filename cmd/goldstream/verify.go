package main

import (
	"errors"
	"fmt"
	"io"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

const cachedWarning = "warning: the file system refuses to be read past the page cache: memory may have been checked in the place of the disk"

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
		if rep.Cached {
			fmt.Fprintln(w, cachedWarning)
		}
		if len(rep.Bad) == 0 {
			fmt.Fprintln(w, verdict(rep))
			return
		}
		fmt.Fprintln(w, "OFFSET\tLENGTH\tREASON")
		for _, b := range rep.Bad {
			fmt.Fprintf(w, "%d\t%d\t%s\n", b.Offset, b.Length, b.Reason)
		}
	})
}

// verdict says good only of what was compared with something.
func verdict(rep blockstore.VerifyReport) string {
	switch {
	case rep.Learnt == 0:
		return fmt.Sprintf("%s: good, %s compared with its checksums", rep.Image, humanSize(rep.Compared))
	case rep.Compared == 0:
		return fmt.Sprintf("%s: readable, but there were no checksums to compare with: those of %s were taken now", rep.Image, humanSize(rep.Learnt))
	}
	return fmt.Sprintf("%s: good as far as there were checksums, %s compared; those of the other %s were taken now",
		rep.Image, humanSize(rep.Compared), humanSize(rep.Learnt))
}

func digestImage(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		m := newMeter(c.err, "digest "+c.arg(0))
		d, err := client.DigestImage(c.ctx, c.arg(0), c.Bool("sha256"), m.show)
		m.done()
		if err != nil {
			return err
		}
		return c.print(d, func(w io.Writer) {
			fields(w, [][2]string{{"content id", d.ContentID}, {"sha256", d.SHA256}})
		})
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
		Advice:  "Volumes made from it read the damage where they have not been written. goldstream image repair mends it from another copy. Check the disk below the data directory.",
	}
}
