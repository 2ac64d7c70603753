package nbd

import (
	"context"
	"errors"
)

// Extent is a run of an export.
type Extent struct {
	Length int64 // bytes, never 0
	Zero   bool  // reads as zeroes; false: may hold data
}

const (
	// maxExtents bounds what one call of Extents takes from the server. An
	// image in pieces of 64 KiB reaches it at 64 GiB: ask by ranges.
	maxExtents = 1 << 20
	// maxStatusPayload bounds one BLOCK_STATUS chunk, in bytes.
	maxStatusPayload = 4 + 64<<10*statusRunSize
)

// Extents returns consecutive runs that cover the range, neighbours joined.
// Without base:allocation on the other side the whole range may hold data.
func (c *Client) Extents(ctx context.Context, off, length int64) ([]Extent, error) {
	if err := c.checkRange(off, length); err != nil {
		return nil, err
	}
	if !c.allocation {
		return appendExtent(nil, Extent{Length: length}), nil
	}
	var all []Extent
	for taken := 0; length > 0; {
		k := &call{kind: cmdBlockStatus, offset: off, length: uint32(min(length, maxStep))}
		if err := c.do(ctx, k); err != nil {
			return nil, err
		}
		if taken += len(k.extents); taken > maxExtents {
			return nil, errors.New("nbd: the server reports more than a million extents; ask for a smaller range")
		}
		for _, e := range k.extents {
			e.Length = min(e.Length, length)
			all = appendExtent(all, e)
			off += e.Length
			length -= e.Length
		}
	}
	return all, nil
}

func appendExtent(all []Extent, e Extent) []Extent {
	if e.Length == 0 {
		return all
	}
	if n := len(all); n > 0 && all[n-1].Zero == e.Zero {
		all[n-1].Length += e.Length
		return all
	}
	return append(all, e)
}
