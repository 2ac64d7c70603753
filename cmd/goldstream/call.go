package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
)

// call is one command as it runs.
type call struct {
	*cli.Context
	ctx context.Context // ends with a signal
	streams
}

// runCall runs a verb under a context that signals end.
func runCall(c *cli.Context, action func(*call) error) error {
	ctx, stop := interruptible(c.Context)
	defer stop()
	err := action(&call{Context: c, ctx: ctx, streams: streams{c.App.Reader, c.App.Writer, c.App.ErrWriter}})
	if err != nil && ctx.Err() != nil {
		return errCancelled
	}
	return err
}

func (c *call) arg(i int) string { return c.Args().Get(i) }

// requestID is the caller's id of a command that changes something.
func (c *call) requestID() v1.Option { return v1.WithRequestID(c.String("request-id")) }

func requestIDFlag() cli.Flag {
	return &cli.StringFlag{Name: "request-id", Usage: "`ID` of this request: the same id again returns the first result"}
}

func ownerFlag() cli.Flag {
	return &cli.StringFlag{Name: "owner", Usage: "`LABEL` that tells whose it is"}
}

// print prints v as JSON if that is asked for, and otherwise what human writes.
func (c *call) print(v any, human func(io.Writer)) error {
	if c.Bool("json") {
		e := json.NewEncoder(c.out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	human(w)
	return w.Flush()
}

// note tells people something beside the result.
func (c *call) note(text string) {
	if c.Bool("json") {
		_ = json.NewEncoder(c.err).Encode(map[string]string{"note": text})
		return
	}
	fmt.Fprintln(c.err, "goldstream: "+text)
}

// logger is for what happens inside this process where there is no daemon.
func (c *call) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: slog.LevelError}))
}

// terminal tells whether w is one, and how wide.
func terminal(w io.Writer) (columns int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return 0, false
	}
	return terminalWidth(f)
}
