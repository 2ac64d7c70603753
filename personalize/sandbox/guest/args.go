package guest

import (
	"strconv"

	"golang.org/x/sys/unix"

	"goldstream/personalize/sandbox/wire"
)

func number(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, failure(unix.EINVAL, "%q is no number", s)
	}
	return n, nil
}

func mode(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o7777 {
		return 0, failure(unix.EINVAL, "%q is no octal mode up to 7777", s)
	}
	return uint32(n), nil
}

func decimal[T int | int64 | uint64 | uint32](n T) string { return strconv.FormatInt(int64(n), 10) }

// row sends fields, each with a NUL behind it.
func (c *call) row(fields ...string) error {
	var b []byte
	for _, f := range fields {
		b = append(append(b, f...), 0)
	}
	c.rows = append(c.rows, b...)
	if len(c.rows) < wire.MaxFromGuest/2 {
		return nil
	}
	return c.flush()
}

// flush sends the rows that are waiting.
func (c *call) flush() error {
	_, err := c.out.Write(c.rows)
	c.rows = c.rows[:0]
	return err
}

func typeOf(m uint32) string {
	switch m & unix.S_IFMT {
	case unix.S_IFREG:
		return wire.TypeFile
	case unix.S_IFDIR:
		return wire.TypeDirectory
	case unix.S_IFLNK:
		return wire.TypeLink
	}
	return wire.TypeOther
}
