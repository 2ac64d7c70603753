package netboot

import (
	"bytes"
	"fmt"
	"io"
)

// An archive that the kernel unpacks ("newc", Documentation/driver-api/early-userspace):
//
//	magic "070701", then 8 hex digits each of: inode, mode, uid, gid, links, mtime,
//	size, major, minor, rdev major, rdev minor, length of the name with its NUL, 0
//	name, NUL, padding to 4 bytes; content, padding to 4 bytes
//
// A file named TRAILER!!! ends it. A directory that is a link in the volume's own
// initrd must not be in it: the kernel would put a directory in the link's place.

// archive is made of pieces, so that what is shared among boots is not copied.
type archive struct {
	pieces [][]byte
	size   int64
	inode  int
}

const (
	modeDir  = 0o040000
	modeFile = 0o100000
	trailer  = "TRAILER!!!"
)

func (a *archive) add(name string, mode int, content []byte) {
	a.inode++
	var head bytes.Buffer
	fmt.Fprintf(&head, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	a.piece(pad(head.Bytes()))
	a.piece(content)
	a.piece(make([]byte, padding(int64(len(content)))))
}

func (a *archive) piece(p []byte) {
	if len(p) > 0 {
		a.pieces, a.size = append(a.pieces, p), a.size+int64(len(p))
	}
}

func (a *archive) end() { a.add(trailer, 0, nil) }

func (a *archive) reader() io.Reader {
	var list []io.Reader
	for _, p := range a.pieces {
		list = append(list, bytes.NewReader(p))
	}
	return io.MultiReader(list...)
}

func padding(n int64) int64 { return -n & 3 }

func pad(p []byte) []byte { return append(p, make([]byte, padding(int64(len(p))))...) }
