package blockstore

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestATrimThatAKillLeftUncommitted: only the intent ring knows of a trim when
// the process is killed. The recovery commits it, and whatever comes then, and
// another kill, builds on zeros and not on the data that was trimmed.
func TestATrimThatAKillLeftUncommitted(t *testing.T) {
	const trimmed, kept = 0, 2 * BlockSize
	for name, then := range map[string]func(t *testing.T, s *Store, d *Disk){
		"flushed": func(t *testing.T, _ *Store, d *Disk) {
			require.NoError(t, d.Flush(ctx))
		},
		"snapshotted": func(t *testing.T, s *Store, d *Disk) {
			_, err := s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "s"})
			require.NoError(t, err)
			snap, err := s.OpenSnapshot(ctx, "v", "s")
			require.NoError(t, err)
			require.Zero(t, firstByte(t, snap, trimmed))
			require.EqualValues(t, 5, firstByte(t, snap, kept))
			require.NoError(t, snap.Close())
		},
		"overwritten in part": func(t *testing.T, _ *Store, d *Disk) {
			require.NoError(t, d.WriteAt(ctx, block(8)[:512], trimmed+512, false))
			require.EqualValues(t, 8, firstByte(t, d, trimmed+512))
			require.Zero(t, firstByte(t, d, trimmed+1024), "filled with zeros")
		},
		"overwritten and trimmed again": func(t *testing.T, _ *Store, d *Disk) {
			require.NoError(t, d.WriteAt(ctx, block(8), trimmed, true))
			require.NoError(t, d.Trim(ctx, trimmed, BlockSize, false))
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, s, d, dir := faulty(t)
			require.NoError(t, d.WriteAt(ctx, append(append(block(4), block(4)...), block(5)...), 0, true))
			require.NoError(t, d.Trim(ctx, trimmed, 2*BlockSize, false))
			s.kill()
			for range 2 {
				s = reopenFaulty(t, &faultyFS{}, dir, "")
				d = openVolume(t, s, "v")
				require.Zero(t, firstByte(t, d, trimmed), "acknowledged")
				require.Zero(t, firstByte(t, d, trimmed+BlockSize))
				require.EqualValues(t, 5, firstByte(t, d, kept))
				require.NoFileExists(t, s.ringPath(d.v.entry.lineage.id), "the recovery has committed it")
				if then != nil {
					then(t, s, d)
					then = nil
				}
				s.kill()
			}
		})
	}
}

// replayModel is what a recovery should find, the naive way: a list of all
// entries, asked block by block.
type replayModel struct {
	committed [replayBlocks]bool // the map says that the layer holds it
	file      [replayBlocks]byte // what the file has
	entries   []replayEntry      // newest last; those that stand in the ring
}

type replayEntry struct {
	block, blocks int
	zero          bool
	content       []byte // one for each block
	torn          bool
}

const replayBlocks = 24

// reads returns what a block should read as after a kill.
func (m *replayModel) reads(block int) byte {
	for i := len(m.entries) - 1; i >= 0; i-- {
		e := m.entries[i]
		switch {
		case e.torn || block < e.block || block >= e.block+e.blocks:
		case e.zero:
			return 0
		case e.content[block-e.block] == m.file[block]:
			return m.file[block]
		}
	}
	if m.committed[block] {
		return m.file[block]
	}
	return 0
}

// TestReplayFindsWhatTheEntriesProve: random entries of data that did or did
// not come to the file, of zeros, torn ones and ones of earlier rounds of the
// ring, after some commits; the order of writes of one block is kept.
func TestReplayFindsWhatTheEntriesProve(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 6
	}
	for seed := range seeds {
		replayOnce(t, seed)
	}
}

func replayOnce(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	_, s, d, dir := faulty(t)
	var m replayModel
	v := d.v
	require.NoError(t, v.ready())
	top := v.top.Load()
	for rounds := 1 + rng.IntN(4); rounds > 0; rounds-- {
		// The entries of the round before are committed, and stale.
		for at := range replayBlocks {
			if rng.IntN(3) > 0 {
				continue
			}
			b := byte(1 + rng.IntN(4))
			require.NoError(t, d.WriteAt(ctx, block(b), int64(at)<<blockShift, false))
			m.file[at], m.committed[at] = b, true
		}
		for range rng.IntN(1200) { // around the ring
			if !addRandom(t, v, top, rng, nil) {
				break
			}
		}
		require.NoError(t, d.Flush(ctx))
	}
	for range 1 + rng.IntN(40) {
		if !addRandom(t, v, top, rng, &m) {
			break
		}
	}
	for at := range replayBlocks { // what came to the file of what was begun
		if rng.IntN(2) == 0 {
			m.file[at] = byte(rng.IntN(5))
			require.NoError(t, top.layer.write(block(m.file[at]), int64(at)<<blockShift))
		}
	}
	want := m
	s.kill()
	s = reopenFaulty(t, &faultyFS{}, dir, "")
	d = openVolume(t, s, "v")
	for at := range replayBlocks {
		require.Equal(t, want.reads(at), firstByte(t, d, int64(at)<<blockShift), "seed %d, block %d: %+v", seed, at, want.entries)
	}
	finish(t, s, d)
}

// addRandom appends a random entry, to the model too unless it will be stale,
// and may tear it. It reports false if the ring is full.
func addRandom(t *testing.T, v *volume, top *top, rng *rand.Rand, m *replayModel) bool {
	e := replayEntry{block: rng.IntN(replayBlocks - 4), blocks: 1 + rng.IntN(4), zero: rng.IntN(3) == 0}
	kind, data := byte(intentZero), []byte(nil)
	if !e.zero {
		kind = intentData
		for range e.blocks {
			b := byte(rng.IntN(5))
			e.content = append(e.content, b)
			data = append(data, block(b)...)
		}
	}
	ok, err := v.ring.append(kind, top.layer.id.version, int64(e.block), e.blocks, data)
	require.NoError(t, err)
	if !ok || m == nil {
		return ok
	}
	if e.torn = rng.IntN(5) == 0; e.torn { // the head counts on from the entry's end
		size := entrySize(kind, e.blocks)
		v.ring.b[ringStart+int((v.ring.head-uint64(size))%v.ring.space())+rng.IntN(entryHead)] ^= 0x10
	}
	m.entries = append(m.entries, e)
	return true
}
