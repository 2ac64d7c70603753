package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
)

//go:embed testdata/boot-reads.txt
var bootReads []byte

const (
	sector     = 512
	traceBlock = 4096
	traceSize  = 2 << 30 // of the disk that the trace was recorded from
)

// read is one request of a trace, in bytes.
type read struct {
	off    int64
	length int
}

// parseTrace reads lines of first sector and number of sectors.
func parseTrace(text []byte) (trace []read, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		if bytes.HasPrefix(lines.Bytes(), []byte("#")) {
			continue
		}
		var first, count int64
		if _, err := fmt.Sscanf(lines.Text(), "%d %d", &first, &count); err != nil {
			return nil, fmt.Errorf("line %d of the trace: %w", n, err)
		}
		if first < 0 || count < 1 || (first+count)*sector > traceSize {
			return nil, fmt.Errorf("line %d of the trace: %d sectors at %d are not within the disk", n, count, first)
		}
		trace = append(trace, read{first * sector, int(count * sector)})
	}
	return trace, lines.Err()
}

// traceRun is how much the image holds around what is read, in bytes.
const traceRun = 64 << 10

// makeTraceImage writes a sparse image with data wherever the trace reads. The
// first 8 bytes of each block of it are its number.
func makeTraceImage(path string, trace []read) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	source := rand.NewChaCha8([32]byte{3})
	run, done := make([]byte, traceRun), map[int64]bool{}
	for _, r := range trace {
		for at := r.off / traceRun; at*traceRun < r.off+int64(r.length); at++ {
			if done[at] {
				continue
			}
			done[at] = true
			_, _ = source.Read(run) // never fails
			for i := int64(0); i < traceRun; i += traceBlock {
				binary.LittleEndian.PutUint64(run[i:], uint64((at*traceRun+i)/traceBlock))
			}
			if _, err := f.WriteAt(run, at*traceRun); err != nil {
				return err
			}
		}
	}
	if err := f.Truncate(traceSize); err != nil {
		return err
	}
	return f.Sync()
}

// checkRead tells whether p is what the image has at off.
func checkRead(p []byte, off int64) error {
	for at := (off + traceBlock - 1) &^ (traceBlock - 1); at+8 <= off+int64(len(p)); at += traceBlock {
		if got := binary.LittleEndian.Uint64(p[at-off:]); got != uint64(at/traceBlock) {
			return fmt.Errorf("block %d of the disk reads as block %d", at/traceBlock, got)
		}
	}
	return nil
}
