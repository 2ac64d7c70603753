package source

import (
	"bufio"
	"errors"
	"io"
	"sync/atomic"
)

// counter counts the bytes read from r and marks r's own errors.
type counter struct {
	r      io.Reader
	peeked *bufio.Reader // r, if the caller gave it buffered
	done   atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.done.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		err = &errRead{err}
	}
	return n, err
}
