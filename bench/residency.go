package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// dataFiles returns the data files below a store's directory.
func dataFiles(dir string) (paths []string, err error) {
	err = filepath.WalkDir(filepath.Join(dir, "blocks", "layers"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	return paths, err
}

// dropCache has the kernel forget what it holds of the files in memory.
func dropCache(paths []string) error {
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = f.Sync()
		if err == nil {
			err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// resident returns how many bytes of the files' first size bytes are in memory,
// holes left out: what is in memory of those was read from nowhere. Data files
// are sparse and longer than that; blocks stand where the disk has them.
func resident(paths []string, size int) (n int64, err error) {
	for _, path := range paths {
		m, err := residentOf(path, size)
		if err != nil {
			return 0, err
		}
		n += m
	}
	return n, nil
}

func residentOf(path string, size int) (n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	defer unix.Munmap(b)
	page := os.Getpagesize()
	in := make([]byte, (size+page-1)/page)
	if err := mincore(b, in); err != nil {
		return 0, &os.PathError{Op: "mincore", Path: path, Err: err}
	}
	for off := int64(0); off < int64(size); {
		start, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return n, nil
		}
		end, err2 := unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
		if err := errors.Join(err, err2); err != nil {
			return 0, &os.PathError{Op: "seek", Path: path, Err: err}
		}
		for at := start; at < min(end, int64(size)); at += int64(page) {
			n += int64(in[at/int64(page)]&1) * int64(page)
		}
		off = end
	}
	return n, nil
}

// number returns the number after a word at the start of a line of a file of
// the server in /proc.
func (s *server) number(file, word string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, file))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(word+":")); ok {
			return strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc has no %s in %s", word, file)
}
