package blockstore

import (
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// mapMergerName is part of the format: Pebble refuses to open a store whose
// merger has another name.
const mapMergerName = "goldstream.map.1"

// mapMerger lays the map records written under one key over one another. A
// flush adds what changed as a merge operand and never reads or rewrites the
// record; Pebble's compactions fold operands into one, which bounds a record
// by its region however often blocks change between data and zero.
var mapMerger = &pebble.Merger{
	Name: mapMergerName,
	Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		return &recordMerger{operands: [][]byte{slices.Clone(value)}}, nil
	},
}

// recordMerger holds the operands of one key, oldest first.
type recordMerger struct{ operands [][]byte }

func (m *recordMerger) MergeNewer(value []byte) error {
	m.operands = append(m.operands, slices.Clone(value))
	return nil
}

func (m *recordMerger) MergeOlder(value []byte) error {
	m.operands = slices.Insert(m.operands, 0, slices.Clone(value))
	return nil
}

// Finish composes the operands. Whether the oldest is the base or only the
// oldest of this part of the history makes no difference: a delta over
// nothing and a delta over older deltas are the same bytes.
func (m *recordMerger) Finish(bool) ([]byte, io.Closer, error) {
	if len(m.operands) == 1 {
		return m.operands[0], nil, nil
	}
	c := newComposer()
	defer c.release()
	for _, rec := range m.operands {
		if err := c.apply(rec); err != nil {
			return nil, nil, err
		}
	}
	return c.encode(), nil, nil
}
