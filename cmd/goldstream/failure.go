package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func acceptLossVerb() verb {
	return verb{
		name: "accept-loss", args: "NAME", usage: "go on with what the disk holds of a volume of which a sync failed",
		examples: []string{"goldstream volume accept-loss web-1", "goldstream volume accept-loss web-1 --disconnect --json"},
		flags:    []cli.Flag{disconnectFlag(), requestIDFlag()},
		action:   acceptLoss, complete: names{volumeNames},
	}
}

func disconnectFlag() cli.Flag {
	return &cli.BoolFlag{Name: "disconnect", Usage: "cut off the NBD clients that have it open"}
}

func acceptLoss(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		info, err := client.AcceptLoss(c.ctx, c.arg(0), v1.AcceptLossRequest{Disconnect: c.Bool("disconnect")}, c.requestID())
		if err != nil {
			return shutDownFirst(err, c.Bool("disconnect"))
		}
		return c.print(info, func(w io.Writer) {
			fmt.Fprintf(w, "volume %s goes on, with epoch %d\n", info.Name, info.Epoch)
			printRanges(w, info.Failure)
		})
	})
}

// shutDownFirst advises what to do about clients that are in the way.
func shutDownFirst(err error, disconnect bool) error {
	if disconnect || !errors.Is(err, blockstore.ErrInUse) {
		return err
	}
	e := *v1.ErrorOf(err)
	e.Advice = "Shut down the server that uses it, then try again; --disconnect cuts its NBD connections off."
	return &e
}

// shownRanges is how many ranges people get to see; --json has more.
const shownRanges = 20

func printFailure(w io.Writer, f *blockstore.FailureInfo) {
	if f == nil {
		return
	}
	fmt.Fprintln(w)
	if f.Accepted.IsZero() {
		fmt.Fprintf(w, "FAILED %s: %s\nIt takes no more writes, and what was written since the last good flush is not read.\n", localTime(f.Since), f.Cause)
	} else {
		fmt.Fprintf(w, "failed %s: %s\nloss accepted %s\n", localTime(f.Since), f.Cause, localTime(f.Accepted))
	}
	printRanges(w, f)
}

func printRanges(w io.Writer, f *blockstore.FailureInfo) {
	if f == nil {
		return
	}
	if len(f.Ranges) == 0 {
		fmt.Fprintln(w, "nothing is lost: all that was acknowledged is on the disk")
		return
	}
	fmt.Fprintf(w, "may not be what was acknowledged, %s:\n", exactSize(f.Bytes))
	for _, r := range f.Ranges[:min(len(f.Ranges), shownRanges)] {
		fmt.Fprintf(w, "  %d bytes at %d\n", r.Length, r.Offset)
	}
	if more := len(f.Ranges) + f.More - shownRanges; more > 0 {
		fmt.Fprintf(w, "  and %d ranges more: see them with goldstream volume inspect --json\n", more)
	}
}
