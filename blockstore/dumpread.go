package blockstore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
)

// anyStore stands for the ID of a store that is not known.
const anyStore = ""

// readDump passes the records of a dump of the store id to fn. They are to be
// believed only when it returns nil.
//
// Errors: ErrCorrupt (cut short or altered), ErrFormat (of a newer goldstream),
// ErrInvalid (no dump, or of another store), those of r and fn.
func readDump(ctx context.Context, r io.Reader, id string, fn func(key, value []byte) error) (info DumpInfo, err error) {
	lines := &dumpReader{r: bufio.NewReaderSize(r, 1<<20)}
	line, err := lines.next()
	if err != nil {
		return info, err
	}
	head, err := readDumpHead(line, id)
	if err != nil {
		return info, err
	}
	info.Store, info.Sequence = head.Store, head.Sequence
	sum := sha256.New()
	sum.Write(line)
	for last := []byte(nil); ; info.Records++ {
		if err := cancelled(ctx); err != nil {
			return info, err
		}
		if line, err = lines.next(); err != nil {
			return info, err
		}
		var end dumpEnd
		if bytes.HasPrefix(line, []byte(`{"type":"end",`)) && json.Unmarshal(line, &end) == nil {
			info.SHA256 = hex.EncodeToString(sum.Sum(nil))
			if end.SHA256 != info.SHA256 || end.Records != info.Records {
				return info, errf(ErrCorrupt, "the dump was altered: its SHA-256 is %s over %d records, and it says %s over %d; use another copy", info.SHA256, info.Records, end.SHA256, end.Records)
			}
			return info, lines.atEnd()
		}
		sum.Write(line)
		key, value, ok := decodeDumpLine(line)
		if !ok || bytes.Equal(key, sequenceKey) || bytes.Compare(key, last) <= 0 {
			return info, errf(ErrCorrupt, "the dump is damaged in line %d: use another copy", lines.n)
		}
		if err := fn(key, value); err != nil {
			return info, err
		}
		last = key
	}
}

func readDumpHead(line []byte, id string) (head dumpHead, err error) {
	if json.Unmarshal(line, &head) != nil || head.Type != dumpHeadType || head.Format < 1 {
		return head, errf(ErrInvalid, "this is no dump of a store's metadata, whose first line says so")
	}
	if head.Format > dumpFormat || head.StoreFormat > formatVersion {
		return head, errf(ErrFormat, "the dump has format %d of a store of format %d; this program reads up to %d and %d: use a newer goldstream", head.Format, head.StoreFormat, dumpFormat, formatVersion)
	}
	if id != anyStore && head.Store != id {
		return head, errf(ErrInvalid, "the dump is of the store %s, and this is %s: its data is not here", head.Store, id)
	}
	return head, nil
}

// dumpReader reads lines.
type dumpReader struct {
	r *bufio.Reader
	n int
}

// next returns the next line with its end.
func (d *dumpReader) next() (line []byte, err error) {
	d.n++
	for {
		part, err := d.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case err == io.EOF:
			return nil, errf(ErrCorrupt, "the dump is cut short in line %d: use another copy", d.n)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > dumpLimit:
			return nil, errf(ErrInvalid, "line %d of the dump has no end", d.n)
		}
	}
}

func (d *dumpReader) atEnd() error {
	if _, err := d.r.ReadByte(); err == io.EOF {
		return nil
	} else if err != nil {
		return err
	}
	return errf(ErrCorrupt, "there is more after the end of the dump: use another copy")
}
