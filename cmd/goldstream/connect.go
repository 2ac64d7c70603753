package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/daemon"
)

const (
	// lockPatience is how long a command waits for another one to let go of
	// the data directory, or for a daemon that starts to answer.
	lockPatience = 2 * time.Second
	lockPoll     = 50 * time.Millisecond
)

// connection is a client and what has to be closed after it.
type connection struct {
	*v1.Client
	inside bool // no daemon runs: it is a part of this process
	close  func() error
}

// with runs f with a client of the daemon or, where none runs, of handlers in
// this process. With create, a data directory that does not exist is made.
func (c *call) with(create bool, f func(*v1.Client) error) error {
	conn, err := c.connect(create)
	if err != nil {
		return err
	}
	return errors.Join(f(conn.Client), conn.close())
}

func (c *call) connect(create bool) (*connection, error) {
	if conn, err := c.reachServer(); conn != nil || err != nil {
		return conn, err
	}
	dir := c.String("data")
	if dir == "" {
		return nil, usagef("--data is empty: name the data directory, or leave the flag away for %s", defaultData)
	}
	if c.readOnly {
		return c.openInside(dir, false)
	}
	for start := time.Now(); ; {
		conn, err := c.reachDaemon(dir)
		if conn != nil || err != nil {
			return conn, err
		}
		conn, err = c.openInside(dir, create)
		if !errors.Is(err, blockstore.ErrLocked) || time.Since(start) > lockPatience {
			return conn, err
		}
		select {
		case <-c.ctx.Done():
			return nil, c.ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}

// reachDaemon returns nothing where no daemon listens.
func (c *call) reachDaemon(dir string) (*connection, error) {
	if conn, err := c.reachServer(); conn != nil || err != nil {
		return conn, err
	}
	socket := filepath.Join(dir, v1.SocketName)
	conn, err := v1.Dial(c.ctx, socket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the daemon's socket %s cannot be used: %w", socket, err)
	}
	conn.Close()
	client := v1.NewClient(socket)
	return &connection{Client: client, close: func() error { client.Close(); return nil }}, nil
}

func (c *call) openInside(dir string, create bool) (*connection, error) {
	if err := checkOwner(dir); err != nil && !c.readOnly { // nothing is made
		return nil, err
	}
	_, err := os.Stat(filepath.Join(dir, "blocks"))
	existed := err == nil
	d, err := daemon.Open(dir, daemon.Options{
		Version:   programVersion(),
		MustExist: !create,
		ReadOnly:  c.readOnly,
		Logger:    c.warnings(),
		Sandbox:   sandboxOptions(c.Context),
		Sandboxes: 1,
	})
	if err != nil {
		return nil, explainOwner(dir, err)
	}
	if create && !existed {
		c.note("new data directory " + dir)
	}
	e := d.Embed()
	return &connection{Client: e.Client, inside: true, close: func() error {
		return errors.Join(e.Close(), d.Close())
	}}, nil
}

// warnings tells what is passed over in data that is only read.
func (c *call) warnings() *slog.Logger {
	if !c.readOnly {
		return c.log
	}
	return slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// daemonNames asks a running daemon for completions; it opens nothing.
func daemonNames[T any](c *call, list func(*v1.Client, context.Context) ([]T, error), name func(T) string) []string {
	ctx, cancel := context.WithTimeout(c.ctx, time.Second)
	defer cancel()
	client := v1.NewClient(filepath.Join(c.String("data"), v1.SocketName))
	if conn, err := c.reachServer(); err != nil {
		return nil
	} else if conn != nil {
		client = conn.Client
	}
	defer client.Close()
	found, _ := list(client, ctx) // without an answer there are no names
	names := make([]string, len(found))
	for i, f := range found {
		names[i] = name(f)
	}
	return names
}
