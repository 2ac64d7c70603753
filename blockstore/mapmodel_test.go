package blockstore

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMapModel runs random writes, trims, seals, clones and rollbacks, and holds
// what the map records of each version say against plain arrays that name a layer
// for each block. Nothing is deleted here; TestReclaimModel does that.
func TestMapModel(t *testing.T) {
	base, n := modelSeeds(t, 12, 3)
	for seed := base; seed < base+n; seed++ {
		if !t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { newMapModel(t, seed).run() }) {
			return
		}
	}
}

// modelSeeds returns the seeds of a model test: one that is asked for, or so many
// from the time on, which are printed with what fails.
func modelSeeds(t *testing.T, whole, short uint64) (base, n uint64) {
	switch {
	case *modelSeed != 0:
		return *modelSeed, 1
	case *modelRuns != 0:
		n = *modelRuns
	case testing.Short():
		n = short
	default:
		n = whole
	}
	base = uint64(time.Now().UnixNano())
	t.Logf("seeds from %d; one alone: -model.seed=N", base)
	return base, n
}

var modelRuns = flag.Uint64("model.seeds", 0, "run the tests of the map records and of the reclaimer with so many seeds")

const mapRegions = 3

// blockLayers names for each block of a disk the layer that holds it; the zero
// layerID says that it reads as zero.
type blockLayers [mapRegions * regionBlocks]layerID

// mapVersion is a sealed version, by a snapshot that names it.
type mapVersion struct {
	volume, snapshot string
	blocks           *blockLayers
}

type mapModel struct {
	*testing.T
	rng    *rand.Rand
	disk   *simDisk
	s      *Store
	sealed []mapVersion
	tips   map[string]*blockLayers // of volumes
	names  []string
	fulls  int // full records seen
}

func newMapModel(t *testing.T, seed uint64) *mapModel {
	m := &mapModel{T: t, rng: rand.New(rand.NewPCG(seed, 5)), disk: newHost(seed), tips: map[string]*blockLayers{}}
	m.open()
	return m
}

func (m *mapModel) open() {
	var err error
	m.s, err = Open(crashDir, simOptions(m.disk))
	require.NoError(m, err)
}

func (m *mapModel) run() {
	m.create("", "", new(blockLayers))
	for range 2 * fullEvery { // until full records are written
		m.change()
		m.seal()
	}
	for range 120 {
		switch k := m.rng.IntN(20); {
		case k < 9:
			m.change()
		case k < 14:
			m.seal()
		case k < 16 && len(m.sealed) > 0 && len(m.names) < 6:
			from := m.sealed[m.rng.IntN(len(m.sealed))]
			m.create(from.volume, from.snapshot, from.blocks)
		case k < 17 && len(m.sealed) > 0:
			m.rollBack(m.sealed[m.rng.IntN(len(m.sealed))])
		case k < 18:
			m.killed()
		default:
			m.compareAll()
		}
	}
	m.compareAll()
	require.NoError(m, m.s.Close())
	m.open()
	m.compareAll()
	require.NoError(m, m.s.Close())
	require.Positive(m, m.fulls)
	m.Logf("%d versions, %d volumes, %d full records", len(m.sealed), len(m.names), m.fulls)
}

func (m *mapModel) create(volume, snapshot string, blocks *blockLayers) {
	name := fmt.Sprint("v", len(m.names))
	req := CloneRequest{Name: name, Volume: volume, Snapshot: snapshot}
	if snapshot == "" {
		req.Size = mapRegions * RegionSize
	}
	_, err := m.s.CreateVolume(ctx, req)
	require.NoError(m, err)
	copied := *blocks
	m.tips[name] = &copied
	m.names = append(m.names, name)
}

// volume picks one, the first most often, so that many versions lie over one
// another.
func (m *mapModel) volume() string {
	if m.rng.IntN(2) == 0 {
		return m.names[0]
	}
	return m.names[m.rng.IntN(len(m.names))]
}

// change writes and trims runs of a volume, and flushes.
func (m *mapModel) change() {
	name := m.volume()
	d := openVolume(m.T, m.s, name)
	own, blocks := d.v.top.Load().layer.id, m.tips[name]
	for range 1 + m.rng.IntN(8) {
		n := 1 + m.rng.IntN(12)
		// Mostly within a few places, so that layers come to lie over one another.
		at := m.rng.IntN(mapRegions)*regionBlocks + m.rng.IntN(64)
		if m.rng.IntN(4) == 0 {
			at = m.rng.IntN(len(blocks) - n)
		}
		if m.rng.IntN(3) == 0 {
			require.NoError(m, d.Trim(ctx, int64(at)<<blockShift, int64(n)<<blockShift, false))
			clear(blocks[at : at+n])
			continue
		}
		data := make([]byte, n<<blockShift)
		for i := range n {
			data[i<<blockShift] = 1
			blocks[at+i] = own
		}
		require.NoError(m, d.WriteAt(ctx, data, int64(at)<<blockShift, false))
		if m.rng.IntN(3) == 0 {
			require.NoError(m, d.Flush(ctx)) // a delta of its own
		}
	}
	require.NoError(m, d.Close())
}

func (m *mapModel) seal() {
	name := m.volume()
	snapshot := fmt.Sprint("s", len(m.sealed))
	_, err := m.s.CreateSnapshot(ctx, name, SnapshotRequest{Name: snapshot})
	require.NoError(m, err)
	copied := *m.tips[name]
	m.sealed = append(m.sealed, mapVersion{name, snapshot, &copied})
}

func (m *mapModel) rollBack(to mapVersion) {
	kept, err := m.s.RollBack(ctx, to.volume, to.snapshot, SnapshotRequest{Name: fmt.Sprint("before-", len(m.sealed))})
	require.NoError(m, err)
	was := *m.tips[to.volume]
	m.sealed = append(m.sealed, mapVersion{to.volume, kept.Name, &was})
	copied := *to.blocks
	m.tips[to.volume] = &copied
}

// killed goes on after a kill of the process, which has flushed everything.
func (m *mapModel) killed() {
	next := m.disk.crash(false)
	m.s.kill()
	m.disk = next
	m.open()
}

func (m *mapModel) compareAll() {
	for _, v := range m.sealed {
		d, err := m.s.OpenSnapshot(ctx, v.volume, v.snapshot)
		require.NoError(m, err)
		m.compare(v.volume+"/"+v.snapshot, d.image.lineage, d.image.version, v.blocks)
		require.NoError(m, d.Close())
	}
	for name, blocks := range m.tips {
		m.s.cat.mu.Lock()
		l := m.s.cat.mu.volumes[name].lineage
		tip := l.tip().number
		m.s.cat.mu.Unlock()
		m.compare(name, l, tip, blocks)
	}
}

// compare composes the records of a version as a cold read does, and looks how
// many it takes.
func (m *mapModel) compare(what string, l *lineage, version uint32, want *blockLayers) {
	for region := range uint32(mapRegions) {
		c := newComposer()
		depth, err := m.s.compose(c, l, region, version)
		require.NoError(m, err)
		require.LessOrEqual(m, depth, fullEvery+1, "%s, region %d: a cold read looks at too many records", what, region)
		for i, src := range c.cells {
			var got layerID
			if src != sourceUnset && src != sourceZero {
				got = c.layers[src-1]
			}
			if at := int(region)*regionBlocks + i; got != want[at] {
				require.Failf(m, "map differs", "%s, version %d, block %d: %v, not %v", what, version, at, got, want[at])
			}
		}
		if c.full {
			m.fulls++
		}
		c.release()
	}
}
