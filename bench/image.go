package main

import (
	"errors"
	"math/rand/v2"
	"os"
)

// makeImage writes a sparse raw image of which about a quarter is data. It is
// the same at every run.
func makeImage(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	source := rand.NewChaCha8([32]byte{1})
	b := make([]byte, 4<<20)
	for off := int64(0); off < size; {
		n := min(int64(64<<10)*(1+rng.Int64N(64)), size-off)
		_, _ = source.Read(b[:n]) // never fails
		if _, err := f.WriteAt(b[:n], off); err != nil {
			return errors.Join(err, f.Close())
		}
		off += 4 * n
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

// makeFullImage writes a raw image without a hole or a zero block, the same at
// every run.
func makeFullImage(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	source := rand.NewChaCha8([32]byte{2})
	b := make([]byte, 4<<20)
	for off := int64(0); off < size; off += int64(len(b)) {
		_, _ = source.Read(b) // never fails
		if _, err := f.WriteAt(b, off); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}
