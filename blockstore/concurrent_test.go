package blockstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// counters is a volume on which writers raise a number in each block. What a
// block may hold lies between the number last acknowledged before a moment
// and the number last issued after it.
type counters struct {
	d      *Disk
	issued []atomic.Uint64
	acked  []atomic.Uint64
}

// raise writes the next number into a block: by whole blocks, by parts, or
// through a zeroing first.
func (c *counters) raise(rng *rand.Rand, block int) error {
	n := c.issued[block].Add(1)
	b := make([]byte, BlockSize)
	for i := 0; i < BlockSize; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], n)
	}
	off := int64(block) << blockShift
	var err error
	switch rng.IntN(4) {
	case 0: // a trim is a step of its own: zero, then the number
		if err = c.d.Trim(ctx, off, BlockSize, false); err == nil {
			err = c.d.WriteAt(ctx, b, off, false)
		}
	case 1:
		err = c.d.WriteAt(ctx, b, off, true)
	default:
		err = c.d.WriteAt(ctx, b, off, false)
	}
	if err == nil {
		c.acked[block].Store(n)
	}
	return err
}

func load(from []atomic.Uint64) []uint64 {
	out := make([]uint64, len(from))
	for i := range from {
		out[i] = from[i].Load()
	}
	return out
}

// requireBetween checks every block of a disk against the two bounds. Zero is
// allowed too where a trim may have been under way.
func requireBetween(t *testing.T, data []byte, low, high []uint64) {
	t.Helper()
	for block := range low {
		b := data[block<<blockShift:][:BlockSize]
		n := binary.LittleEndian.Uint64(b)
		require.True(t, bytes.Equal(b[8:], b[:BlockSize-8]), "block %d is torn", block)
		if n == 0 && high[block] > low[block] {
			continue
		}
		if n < low[block] || n > high[block] {
			require.Failf(t, "wrong content", "block %d holds %d, not %d to %d", block, n, low[block], high[block])
		}
	}
}

// TestCaptureUnderWriters seals a volume again and again while it is written,
// trimmed and flushed; no write may reach a sealed layer, and none be lost.
func TestCaptureUnderWriters(t *testing.T) {
	const blocks, writers, captures = 3 * regionBlocks / 4, 4, 12
	dir := t.TempDir()
	o := testOptions()
	o.CommitInterval, o.CommitBytes = 3*time.Millisecond, 1<<20
	s, err := Open(dir, o)
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: blocks * BlockSize})
	require.NoError(t, err)
	c := &counters{d: openVolume(t, s, "v"), issued: make([]atomic.Uint64, blocks), acked: make([]atomic.Uint64, blocks)}

	var stop atomic.Bool
	var g errgroup.Group
	for w := range writers {
		g.Go(func() error {
			rng := rand.New(rand.NewPCG(uint64(w), 7))
			for !stop.Load() {
				block := rng.IntN(blocks/writers/8)*writers + w
				if err := c.raise(rng, block); err != nil {
					return err
				}
			}
			return nil
		})
	}
	type snapshot struct{ low, high []uint64 }
	var taken []snapshot
	for i := range captures {
		time.Sleep(10 * time.Millisecond)
		low := load(c.acked)
		_, err := s.CaptureImage(ctx, "v", ImportRequest{Name: fmt.Sprintf("c%d", i)})
		require.NoError(t, err)
		taken = append(taken, snapshot{low, load(c.issued)})
	}
	stop.Store(true)
	require.NoError(t, g.Wait())
	final := load(c.acked)
	requireBetween(t, readAll(t, c.d), final, final)
	check := func() {
		for i, snap := range taken {
			d, err := s.OpenImage(ctx, fmt.Sprintf("c%d", i))
			require.NoError(t, err)
			requireBetween(t, readAll(t, d), snap.low, snap.high)
			require.NoError(t, d.Close())
		}
	}
	check()
	s.kill()
	s = openStore(t, dir)
	check()
	c.d = openVolume(t, s, "v")
	requireBetween(t, readAll(t, c.d), final, final)
	require.NoError(t, c.d.Close())
}

// TestKillUnderWriters kills the store while writers are at work: whatever was
// acknowledged is there after the next open, flushed or not.
func TestKillUnderWriters(t *testing.T) {
	const blocks, writers, rounds = 512, 4, 15
	dir := t.TempDir()
	c := &counters{issued: make([]atomic.Uint64, blocks), acked: make([]atomic.Uint64, blocks)}
	for round := range rounds {
		o := testOptions()
		o.CommitInterval = time.Duration(1+round%3*20) * time.Millisecond
		s, err := Open(dir, o)
		require.NoError(t, err)
		if round == 0 {
			_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: blocks * BlockSize})
			require.NoError(t, err)
		}
		c.d = openVolume(t, s, "v")
		requireBetween(t, readAll(t, c.d), load(c.acked), load(c.issued))
		for i := range c.issued { // what is there now is what counts from here on
			c.issued[i].Store(max(c.issued[i].Load(), c.acked[i].Load()))
		}
		var wg sync.WaitGroup
		var stop atomic.Bool
		for w := range writers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				for !stop.Load() {
					if c.raise(rng, rng.IntN(blocks/writers)*writers+w) != nil {
						return
					}
				}
			}()
		}
		time.Sleep(time.Duration(5+round*2) * time.Millisecond)
		gone := ErrClosed
		s.bad.Store(&gone) // no commit from here on, as if the process were gone
		time.Sleep(time.Millisecond)
		stop.Store(true)
		wg.Wait()
		s.kill()
	}
}

// TestFewDescriptors uses many volumes with few open files, from many
// goroutines: no handle may be closed under its user.
func TestFewDescriptors(t *testing.T) {
	const volumes = 200
	o := testOptions()
	o.OpenFiles = 16
	s, err := Open(t.TempDir(), o)
	require.NoError(t, err)
	defer s.Close()
	importBytes(t, s, "base", pattern(1, 1<<20))
	var g errgroup.Group
	for i := range volumes {
		g.Go(func() error {
			name := fmt.Sprintf("v%d", i)
			if _, err := s.CreateVolume(ctx, CloneRequest{Name: name, Image: "base"}); err != nil {
				return err
			}
			d, err := s.OpenVolume(ctx, name)
			if err != nil {
				return err
			}
			b := make([]byte, 3*BlockSize)
			for n := range 12 {
				for j := range b {
					b[j] = byte(i + n)
				}
				if err := d.WriteAt(ctx, b, int64(n*5000), n%9 == 0); err != nil {
					return err
				}
				got := make([]byte, len(b))
				if !d.TryReadAt(got, int64(n*5000)) {
					if err := d.ReadAt(ctx, got, int64(n*5000)); err != nil {
						return err
					}
				}
				if got[0] != byte(i+n) || got[len(got)-1] != byte(i+n) {
					return fmt.Errorf("volume %d reads what is not its own", i)
				}
			}
			return d.Close()
		})
	}
	require.NoError(t, g.Wait())
	files, err := filepath.Glob(filepath.Join(s.layersDir(), "*", "*"))
	require.NoError(t, err)
	require.Len(t, files, volumes+1)
	for i := range 3 { // files in use and unsynced ones were passed over; now none is
		d := openVolume(t, s, fmt.Sprintf("v%d", i))
		readAll(t, d)
		require.NoError(t, d.Close())
	}
	require.LessOrEqual(t, len(s.files.mu.open), o.OpenFiles+1)
}
