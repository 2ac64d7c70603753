package blockstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// A dump is all metadata of a store as lines of JSON: a header, a line for each
// record in the order of their keys (dumpline.go), and an end that tells how many
// they are and the SHA-256 of everything before it. It does not depend on Pebble,
// and two dumps of the same commit are the same bytes. It has no data.

// dumpFormat is the newest form of dumps that this code reads, and the one that
// it writes.
const dumpFormat = 1

const (
	dumpHeadType = "goldstream-metadata"
	dumpEndType  = "end"
	dumpLimit    = 64 << 20 // bytes of a line
)

// DumpInfo describes a dump.
type DumpInfo struct {
	Store    string `json:"store"`    // ID of the store
	Sequence uint64 `json:"sequence"` // of the newest commit in it
	Records  int64  `json:"records"`
	SHA256   string `json:"sha256"` // of all but the last line
}

// dumpHead is the first line.
type dumpHead struct {
	Type        string `json:"type"`
	Format      int    `json:"format"`
	StoreFormat int    `json:"storeFormat"`
	Store       string `json:"store"`
	Sequence    uint64 `json:"sequence"`
}

// dumpEnd is the last line.
type dumpEnd struct {
	Type    string `json:"type"`
	Records int64  `json:"records"`
	SHA256  string `json:"sha256"`
}

// Dump writes the metadata of a store that nobody has open to w.
//
// Errors: ErrLocked, ErrNotFound, ErrCorrupt (the metadata does not add up, or
// lost its tail), those of w.
func Dump(ctx context.Context, dir string, o Options, w io.Writer) (DumpInfo, error) {
	s, err := openOffline(dir, o)
	if err != nil {
		return DumpInfo{}, err
	}
	info, err := s.dump(ctx, w)
	return info, errors.Join(err, s.close())
}

func (s *offline) dump(ctx context.Context, w io.Writer) (DumpInfo, error) {
	id, err := s.ensureID()
	if err != nil {
		return DumpInfo{}, err
	}
	durable, err := s.witnessed()
	if err != nil {
		return DumpInfo{}, err
	}
	v, err := s.view(s.metaDir())
	if err != nil {
		return DumpInfo{}, err
	}
	var info DumpInfo
	if v.sequence < durable {
		err = errf(ErrCorrupt, "metadata in %s lost its tail: it ends at commit %d, but commit %d was durable; see goldstream store accept", s.metaDir(), v.sequence, durable)
	} else {
		info, err = writeDump(ctx, v.db, id, w)
	}
	return info, errors.Join(err, v.endView())
}

// writeDump writes what db, which does not change meanwhile, has.
func writeDump(ctx context.Context, db pebble.Reader, id string, w io.Writer) (info DumpInfo, err error) {
	d := &dumper{w: w, sum: sha256.New()}
	info.Store = id
	if info.Sequence, err = sequenceOf(db); err != nil {
		return info, err
	}
	if err := d.json(dumpHead{dumpHeadType, dumpFormat, formatVersion, id, info.Sequence}); err != nil {
		return info, err
	}
	it, err := db.NewIter(nil)
	if err != nil {
		return info, err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if bytes.Equal(it.Key(), sequenceKey) {
			continue // the header has it
		}
		value, valueErr := it.ValueAndErr()
		if err = errors.Join(valueErr, cancelled(ctx)); err == nil {
			info.Records++
			err = d.write(encodeDumpLine(it.Key(), value))
		}
	}
	if err = errors.Join(err, it.Error(), it.Close()); err != nil {
		return info, err
	}
	info.SHA256 = hex.EncodeToString(d.sum.Sum(nil))
	return info, d.json(dumpEnd{dumpEndType, info.Records, info.SHA256})
}

func sequenceOf(db pebble.Reader) (uint64, error) {
	b, closer, err := db.Get(sequenceKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	if len(b) != 8 {
		return 0, errf(ErrCorrupt, "metadata is damaged: its sequence has %d bytes", len(b))
	}
	return parseSequence(b), nil
}

type dumper struct {
	w   io.Writer
	sum hash.Hash
}

func (d *dumper) json(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return d.write(append(b, '\n'))
}

func (d *dumper) write(line []byte) error {
	d.sum.Write(line)
	_, err := d.w.Write(line)
	return err
}
