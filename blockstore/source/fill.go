package source

import (
	"errors"
	"io"
)

// A piecer gives the next bytes of a disk in whatever portions come handy: up
// to len(p) bytes, written to p or known to be zero.
type piecer interface {
	piece(p []byte) (n int, zero bool, err error)
}

// fill puts pieces together until p is full or the disk ends. Only if all of
// them are zero does it leave p alone and say so.
func fill(p []byte, from piecer) (int, bool, error) {
	zero := true
	n := 0
	for n < len(p) {
		m, z, err := from.piece(p[n:])
		if errors.Is(err, io.EOF) && n > 0 {
			return n, zero, nil
		}
		if err != nil {
			return 0, false, err
		}
		if zero && !z {
			clear(p[:n])
		} else if !zero && z {
			clear(p[n : n+m])
		}
		zero = zero && z
		n += m
	}
	return n, zero && n > 0, nil
}
