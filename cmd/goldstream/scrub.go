package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

// scrubPoll is how often a command that waits asks how far the scrub is.
const scrubPoll = 200 * time.Millisecond

func scrubCommands() []*cli.Command {
	return commands([]verb{
		{
			name: "start", usage: "read all images and snapshots from the disk, in the background, and compare them with their checksums",
			examples: []string{"goldstream scrub start", "goldstream scrub start --wait"},
			flags:    []cli.Flag{&cli.BoolFlag{Name: "wait", Usage: "wait for its end; exit with 7 if it finds damage"}},
			action:   startScrub,
		},
		{
			reads: true, name: "status", usage: "show how far the scrub is, and what it or the last one found; exit with 7 if that is damage",
			examples: []string{"goldstream scrub status", "goldstream scrub status --json"},
			action:   scrubStatus,
		},
		{
			name: "cancel", usage: "end the scrub that runs",
			examples: []string{"goldstream scrub cancel"},
			action:   cancelScrub,
		},
	})
}

func startScrub(c *call) error {
	conn, err := c.connect(false)
	if err != nil {
		return err
	}
	if conn.inside && !c.Bool("wait") {
		return errors.Join(usagef("scrub start: no daemon runs in which the scrub could go on: start it with 'goldstream serve', or give --wait"), conn.close())
	}
	r, err := conn.StartScrub(c.ctx)
	if err == nil && c.Bool("wait") {
		r, err = c.awaitScrub(conn.Client, r)
	}
	if err == nil {
		err = errors.Join(c.printScrub(r), scrubDamage(r))
	}
	return errors.Join(err, conn.close())
}

// awaitScrub shows how far a scrub is until it ends. A signal ends the waiting,
// and not a scrub in a daemon.
func (c *call) awaitScrub(client *v1.Client, r blockstore.ScrubReport) (blockstore.ScrubReport, error) {
	m := newMeter(c.err, "scrub")
	defer m.done()
	for r.State == blockstore.ScrubRunning {
		m.show(blockstore.Progress{Stage: "scrub", Done: r.Done, Total: r.Total, Disk: r.Done})
		select {
		case <-c.ctx.Done():
			return r, c.ctx.Err()
		case <-time.After(scrubPoll):
		}
		var err error
		if r, err = client.Scrub(c.ctx); err != nil {
			return r, err
		}
	}
	return r, nil
}

func scrubStatus(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		r, err := client.Scrub(c.ctx)
		if err != nil {
			return err
		}
		return errors.Join(c.printScrub(r), scrubDamage(r))
	})
}

func cancelScrub(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		r, err := client.CancelScrub(c.ctx)
		if err != nil {
			return err
		}
		return errors.Join(c.printScrub(r), scrubDamage(r))
	})
}

func (c *call) printScrub(r blockstore.ScrubReport) error {
	return c.print(r, func(w io.Writer) {
		if r.State == blockstore.ScrubNone {
			fmt.Fprintln(w, "there was no scrub yet")
			return
		}
		if len(r.Findings) > 0 {
			fmt.Fprintln(w, "IMAGE\tOFFSET\tLENGTH\tREAD BY\tREASON")
		}
		for _, f := range r.Findings {
			where := strings.Join(f.Images, ", ")
			if where == "" {
				where = "layer " + f.Layer
			}
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", where, f.Offset, f.Length, orDash(strings.Join(f.Disks, ", ")), f.Reason)
		}
		if r.More > 0 {
			fmt.Fprintf(w, "and %d more\n", r.More)
		}
		fmt.Fprintln(w, scrubText(r))
		if r.Cached {
			fmt.Fprintln(w, cachedWarning)
		}
	})
}

func scrubText(r blockstore.ScrubReport) string {
	text := fmt.Sprintf("scrub of %s %s: %s of %s read, %s of it compared with checksums, %d places damaged", localTime(r.Started), r.State,
		humanSize(r.Done), humanSize(r.Total), humanSize(r.Compared), len(r.Findings)+r.More)
	if r.Rate > 0 {
		text += fmt.Sprintf("; %s/s, %s left", humanSize(r.Rate), time.Duration(r.Left)*time.Second)
	}
	if r.Limit > 0 {
		text += fmt.Sprintf("; held at %s/s", humanSize(r.Limit))
	}
	if r.Error != "" {
		text += ": " + r.Error
	}
	return text
}

// scrubDamage is the error of a report that lists damage.
func scrubDamage(r blockstore.ScrubReport) error {
	if len(r.Findings) > 0 {
		return &v1.Error{
			Code:    v1.CodeDamaged,
			Message: fmt.Sprintf("sealed data is damaged in %d places", len(r.Findings)+r.More),
			Advice:  "docs/recovery.md says what mends what. Check the disk below the data directory.",
		}
	}
	if r.State == blockstore.ScrubFailed {
		return &v1.Error{Code: v1.CodeInternal, Message: "the scrub failed: " + r.Error}
	}
	return nil
}
