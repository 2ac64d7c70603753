package blockstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// hostRefuses tells that the host let nobody look, which says nothing of what
// is there.
func hostRefuses(err error) bool {
	for _, errno := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EACCES, unix.EPERM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// checkFiles looks for files that no record names, and for data files of a
// wrong length.
func (c *checker) checkFiles() error {
	layers, err := c.fs.List(c.s.layersDir())
	if err != nil {
		return err
	}
	for _, name := range layers {
		if err := c.pause(); err != nil {
			return err
		}
		path := filepath.Join(c.s.layersDir(), name)
		var id layerID
		if n, _ := fmt.Sscanf(name, "%016x-%08x", &id.lineage, &id.version); n != 2 || layerDir(id) != name || !c.exists(id) {
			c.stray(path, "data without a record")
		} else if err := c.checkLayer(path); err != nil {
			return err
		}
	}
	rings, err := c.fs.List(filepath.Join(c.s.dir, "rings"))
	for _, name := range rings {
		var id uint64
		if n, _ := fmt.Sscanf(name, "%016x", &id); n != 1 || fmt.Sprintf("%016x", id) != name || c.lineages[id] == nil {
			c.stray(filepath.Join(c.s.dir, "rings", name), "an intent ring without a record")
		}
	}
	return err
}

func (c *checker) stray(path, what string) {
	if !c.blind {
		c.add(SeverityWarning, FindStray, path, what+": it is kept")
	}
}

// checkLayer looks at the files of one layer. A file of length zero is what a
// kill between its creation and its first use leaves, and one that is needed
// is found by the maps.
func (c *checker) checkLayer(dir string) error {
	names, err := c.fs.List(dir)
	if err != nil {
		c.add(SeverityWarning, FindFile, dir, err.Error())
		return nil
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		var index int
		if n, _ := fmt.Sscanf(name, "%06d", &index); n != 1 || fmt.Sprintf("%06d", index) != name || index >= MaxSize>>segmentShift {
			c.stray(path, "a file that is no data file")
			continue
		}
		c.files++
		if err := c.checkLength(path); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkLength(path string) error {
	f, err := c.fs.Open(path, false)
	if errors.Is(err, os.ErrNotExist) { // reclaimed meanwhile
		return nil
	}
	if err != nil {
		if hostRefuses(err) {
			return err
		}
		if c.found[findingKey{FindFile, path}] == nil {
			c.add(SeverityWarning, FindFile, path, err.Error())
		}
		return nil
	}
	defer f.Close()
	size, err := f.Size()
	if err == nil && size != 0 && size != segmentSize && c.found[findingKey{FindTruncated, path}] == nil {
		c.add(SeverityWarning, FindTruncated, path, wrongSize(size)+"; no disk reads data of it")
	}
	return nil
}
