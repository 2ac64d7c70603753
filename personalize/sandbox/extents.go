package sandbox

import (
	"context"
	"fmt"

	"goldstream/personalize/sandbox/wire"
)

// Range is a part of the disk, in bytes.
type Range struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// mostExtents bounds what a guest tells of one file.
const mostExtents = 4096

// Extents tells where on the disk a file or directory lies. What has no fixed place
// there (on logical volumes, on btrfs) is EOPNOTSUPP.
func (c *Cell) Extents(ctx context.Context, path string) ([]Range, error) {
	fields, err := c.rows(ctx, wire.OpExtents, mostExtents, 2, path)
	if err != nil {
		return nil, err
	}
	n := numbers{}
	var list []Range
	for ; len(fields) > 0; fields = fields[2:] {
		r := Range{int64(n.parse(fields[0], 10)), int64(n.parse(fields[1], 10))}
		if n.err == nil && (r.Offset < 0 || r.Length <= 0 || r.Offset+r.Length < r.Offset) {
			return nil, fmt.Errorf("extents: %w: no range of a disk: %d+%d", wire.ErrProtocol, r.Offset, r.Length)
		}
		list = append(list, r)
	}
	return list, n.err
}
