package main

import (
	"context"
	"encoding/json"
	"errors"
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
	ctx      context.Context // ends with a signal
	readOnly bool            // the data is to be read without a daemon
	log      *slog.Logger    // of the store, where this process opens it; may be nil
	streams
}

// runCall runs a verb under a context that signals end.
func runCall(c *cli.Context, action func(*call) error) error {
	ctx, stop := interruptible(c.Context)
	defer stop()
	s := streams{c.App.Reader, c.App.Writer, c.App.ErrWriter}
	if c.Bool("json") {
		s.err = jsonLines{s.err}
	}
	err := action(&call{Context: c, ctx: ctx, streams: s})
	var last *lasting
	if err != nil && ctx.Err() != nil && !errors.As(err, &last) {
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

// jsonLines is standard error of a command with --json: all that is written
// there are JSON documents of one line.
type jsonLines struct{ io.Writer }

func (j jsonLines) line(name string, v any) {
	_ = json.NewEncoder(j.Writer).Encode(map[string]any{name: v}) // nobody to tell
}

// note tells people something beside the result.
func (c *call) note(text string) {
	if j, ok := c.err.(jsonLines); ok {
		j.line("note", text)
		return
	}
	fmt.Fprintln(c.err, "goldstream: "+text)
}

// terminal tells whether w is one, and how wide.
func terminal(w io.Writer) (columns int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return 0, false
	}
	return terminalWidth(f)
}
