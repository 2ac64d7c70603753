package blockstore

import "github.com/cockroachdb/pebble/v2/vfs"

// A write-ahead log grows by a few hundred bytes with each commit. Were each
// growth news to the file system, a sync of the log would wait for the file
// system's own journal, and with it for the data of every volume that is being
// synced beside it. So the log is filled with zeros a step ahead: then a commit
// overwrites what is there, and its sync is one write. Pebble takes zeros for
// the end of the log, as it takes what is left in a log that it uses again;
// those have their length already.
type logAhead struct {
	file vfs.File // that gets the zeros: one that does not wait for room
	// Of the one goroutine that writes: where it is, and how long the file is.
	at, length int64
}

// logStep is how far the zeros go ahead at a time, in bytes.
const logStep = 1 << 20

// newLogAhead begins with a log that nothing has been written to yet.
func newLogAhead(f vfs.File) (logAhead, error) {
	st, err := f.Stat() // one that is used again is longer than nothing
	if err != nil {
		return logAhead{}, err
	}
	if m, ok := f.(metaFile); ok {
		f = m.File
	}
	return logAhead{file: f, length: st.Size()}, nil
}

// grow makes the log longer than the next n bytes need. The zeros go out with
// the next sync; they are a help only, so a disk that has no room for them is
// left to the write itself, as is one that is nearly full.
func (a *logAhead) grow(s *space, n int) error {
	if a.at+int64(n) <= a.length {
		return nil
	}
	if free, _, l, err := s.host(); err != nil || free < l.reserve {
		return nil
	}
	from := max(a.length, a.at)
	wrote, err := a.file.WriteAt(zeros[:logStep], from)
	a.length = from + int64(wrote)
	if isFull(err) {
		return nil
	}
	return err
}
