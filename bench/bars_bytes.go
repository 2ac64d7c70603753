package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// bytesToDisk counts what random first writes with a flush for each 32 write to
// the disk, beside a plain sparse file under the same writes.
func (b *bars) bytesToDisk(ctx context.Context) error {
	if b.disk == nil {
		note("blockstore: what is written to the disk is not counted: that needs a loop device")
		return nil
	}
	n := b.rounds(16384, 2048)
	var ours, theirs []float64
	count := func(into *[]float64, seed int, open func() (writable, error)) error {
		f, err := open()
		if err != nil {
			return err
		}
		unix.Sync()
		before, err := b.disk.written()
		if err != nil {
			return err
		}
		var times []float64
		if err := timeWrites(f, n, 32, uint64(seed), &times); err != nil {
			return err
		}
		unix.Sync() // what metadata of the file system is left
		after, err := b.disk.written()
		*into = append(*into, float64(after-before)/float64(n*4096))
		return errors.Join(err, f.remove())
	}
	err := byTurns(b.rounds(3, 1), func(i int) error {
		return count(&ours, i, func() (writable, error) { return b.newVolume(ctx, fmt.Sprintf("bytes-%d", i), writeSpan) })
	}, func(i int) error {
		return count(&theirs, i, func() (writable, error) {
			return newPlainFile(filepath.Join(b.dir, fmt.Sprintf("bytes-%d", i)), writeSpan)
		})
	})
	if err != nil {
		return err
	}
	b.within(line{What: "bytes to disk for each byte of 4 KiB random first writes, flush every 32", Unit: "x", Ours: median(ours), Peer: "plain sparse file", Theirs: median(theirs)}, 1.4)
	return nil
}
