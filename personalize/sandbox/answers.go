package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"goldstream/personalize/sandbox/wire"
)

// do makes a call that returns nothing.
func (c *Cell) do(ctx context.Context, op wire.Op, args ...string) error {
	_, err := c.call(ctx, request{op: op, args: args})
	return err
}

// one makes a call that returns one string.
func (c *Cell) one(ctx context.Context, op wire.Op, args ...string) (string, error) {
	results, err := c.call(ctx, request{op: op, args: args})
	if err != nil {
		return "", err
	}
	if len(results) != 1 {
		return "", fmt.Errorf("%v: %w: %d results", op, wire.ErrProtocol, len(results))
	}
	return results[0], nil
}

// numbers parses what a guest sent; the first error stays.
type numbers struct{ err error }

func (n *numbers) parse(s string, base int) uint64 {
	v, err := strconv.ParseUint(s, base, 64)
	n.keep(s, err)
	return v
}

func (n *numbers) signed(s string) int64 {
	v, err := strconv.ParseInt(s, 10, 64)
	n.keep(s, err)
	return v
}

func (n *numbers) keep(s string, err error) {
	if err != nil && n.err == nil {
		n.err = fmt.Errorf("%w: %q is no number", wire.ErrProtocol, printable(s))
	}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func octal(m fs.FileMode) string { return strconv.FormatUint(uint64(m.Perm()), 8) }

func onOff(b bool) string {
	if b {
		return "1"
	}
	return ""
}

// isAbsent is a path that names nothing, a dangling link among them.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP)
}

// Bounds of lists: a disk has many files, and little of all else.
const (
	mostRows     = 1024
	mostNames    = 256 << 10
	mostRowBytes = 1 << 20
)

// rows makes a call whose output is at most so many rows of fields, each with a NUL
// behind it.
func (c *Cell) rows(ctx context.Context, op wire.Op, most, columns int, args ...string) ([]string, error) {
	fields, _, err := c.rowsAnd(ctx, op, most, columns, args...)
	return fields, err
}

// rowsAnd returns the results that come after them too.
func (c *Cell) rowsAnd(ctx context.Context, op wire.Op, most, columns int, args ...string) (fields, results []string, err error) {
	var out bytes.Buffer
	r := request{op: op, args: args, output: &out}
	if most <= mostRows {
		r.limit = mostRowBytes
	}
	if results, err = c.call(ctx, r); err != nil {
		return nil, nil, err
	}
	if bytes.Count(out.Bytes(), []byte{0}) > most*columns {
		return nil, nil, fmt.Errorf("%v: %w: more than %d rows", op, ErrTooLong, most)
	}
	if out.Len() == 0 {
		return nil, results, nil
	}
	text, ended := strings.CutSuffix(out.String(), "\x00")
	fields = strings.Split(text, "\x00")
	if !ended || len(fields)%columns != 0 {
		return nil, nil, fmt.Errorf("%v: %w: a list with a part of a row", op, wire.ErrProtocol)
	}
	return fields, results, nil
}
