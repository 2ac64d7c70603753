package blockstore

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	waitLong = 30 * time.Second
	waitTick = 5 * time.Millisecond
)

var modelSeed = flag.Uint64("model.seed", 0, "run the model test with this seed only")

// kill ends a store as SIGKILL would: what the kernel has stays, what the
// process has in memory is gone. Open volumes are not closed.
func (s *Store) kill() {
	gone := errors.New("killed")
	s.bad.Store(&gone)
	s.closed.Store(true)
	s.cat.shut()
	s.ops.Wait()
	s.scrub.stop()
	s.keeper.stop()
	s.reclaim.stop()
	_, _ = s.cat.settle() // commits nothing any more
	_ = s.closeParts()
}

// model runs random operations on a store and on plain byte slices.
type model struct {
	t       *testing.T
	rng     *rand.Rand
	dir     string
	s       *Store
	volumes map[string][]byte
	images  map[string][]byte
	snaps   map[string]map[string][]byte // of each volume
	retired map[string]bool              // volumes of which the rest is kept
	open    map[string]*Disk
	next    int
	log     []string
	buf     []byte // for reading
}

func TestModel(t *testing.T) {
	seeds := []uint64{*modelSeed}
	if *modelSeed == 0 {
		seeds = nil
		n := 40
		if testing.Short() {
			n = 8
		}
		base := uint64(time.Now().UnixNano())
		for i := range n {
			seeds = append(seeds, base+uint64(i))
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(),
				volumes: map[string][]byte{}, images: map[string][]byte{}, snaps: map[string]map[string][]byte{},
				retired: map[string]bool{}, open: map[string]*Disk{}, buf: make([]byte, 1<<20)}
			defer func() {
				if t.Failed() {
					t.Logf("run again with -model.seed=%d\n%s", seed, m.log[max(0, len(m.log)-40):])
				}
			}()
			m.run(150)
		})
	}
}

func (m *model) run(steps int) {
	m.s = openStore(m.t, m.dir)
	m.importImage()
	for range steps {
		m.step()
	}
	m.reopen(false)
	m.check()
	for name := range m.volumes {
		if m.retired[name] {
			require.NoError(m.t, m.s.RemoveRetired(ctx, name, ""))
			continue
		}
		m.close(name)
		require.NoError(m.t, m.s.DeleteVolume(ctx, name, ""))
	}
	for name := range m.images {
		require.NoError(m.t, m.s.DeleteImage(ctx, name, ""))
	}
	requireNoLayers(m.t, m.s, m.dir)
	require.NoError(m.t, m.s.Close())
	requireClean(m.t, m.dir)
	requireOnlyKeys(m.t, m.dir, 'S')
	rings, err := os.ReadDir(m.dir + "/rings")
	require.NoError(m.t, err)
	require.Empty(m.t, rings)
}

func (m *model) step() {
	switch n := m.rng.IntN(100); {
	case n < 3:
		m.importImage()
	case n < 12:
		m.clone()
	case n < 55:
		m.write()
	case n < 68:
		m.zero()
	case n < 74:
		m.flush()
	case n < 76:
		m.capture()
	case n < 81:
		m.snapshot()
	case n < 84:
		m.deleteSnapshot()
	case n < 85:
		m.rollBack()
	case n < 86:
		m.cloneSnapshot()
	case n < 87:
		m.retire()
	case n < 89:
		m.grow()
	case n < 92:
		m.delete()
	case n < 94:
		m.reopen(false)
	case n < 97:
		m.reopen(true)
	default:
		m.check()
	}
}

func (m *model) say(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...)+"\n")
}

func (m *model) name(kind string) string {
	m.next++
	return fmt.Sprintf("%s-%d", kind, m.next)
}

func pick[T any](m *model, from map[string]T) (string, bool) {
	names := make([]string, 0, len(from))
	for name := range from {
		names = append(names, name)
	}
	if len(names) == 0 {
		return "", false
	}
	slices.Sort(names)
	return names[m.rng.IntN(len(names))], true
}

// size picks a size or growth, in bytes: mostly small, sometimes of more than
// one region.
func (m *model) size() int {
	if m.rng.IntN(4) == 0 {
		return SectorSize * (1 + m.rng.IntN(40000))
	}
	return SectorSize * (1 + m.rng.IntN(5000))
}

func (m *model) importImage() {
	name := m.name("image")
	data := pattern(m.rng.Uint64(), m.size())
	m.say("import %s %d", name, len(data))
	importBytes(m.t, m.s, name, data)
	m.images[name] = data
}

func (m *model) clone() {
	image, ok := pick(m, m.images)
	if !ok {
		return
	}
	name := m.name("volume")
	size := len(m.images[image]) + m.rng.IntN(2)*m.size()
	m.say("clone %s of %s, %d", name, image, size)
	_, err := m.s.CreateVolume(ctx, CloneRequest{Name: name, Image: image, Size: int64(size)})
	require.NoError(m.t, err)
	m.volumes[name] = append(bytes.Clone(m.images[image]), make([]byte, size-len(m.images[image]))...)
}

// inUse returns the volumes that are not retired.
func (m *model) inUse() map[string][]byte {
	volumes := maps.Clone(m.volumes)
	maps.DeleteFunc(volumes, func(name string, _ []byte) bool { return m.retired[name] })
	return volumes
}

// disk returns an open volume and its model.
func (m *model) disk() (string, *Disk, []byte) {
	name, ok := pick(m, m.inUse())
	if !ok {
		m.clone()
		if name, ok = pick(m, m.inUse()); !ok {
			m.importImage()
			return m.disk()
		}
	}
	if m.open[name] == nil {
		m.open[name] = openVolume(m.t, m.s, name)
	}
	return name, m.open[name], m.volumes[name]
}

// span picks a range, often aligned, often small, often where others were.
func (m *model) span(size int) (off, length int) {
	length = 1 + m.rng.IntN(3*BlockSize)
	if m.rng.IntN(4) == 0 {
		length = 1 + m.rng.IntN(2<<20)
	}
	length = min(length, size)
	off = m.rng.IntN(size - length + 1)
	if m.rng.IntN(2) == 0 {
		off = m.rng.IntN(min(size-length, 64<<10) + 1)
	}
	if m.rng.IntN(2) == 0 {
		off &^= BlockSize - 1
		length = min(size-off, (length+BlockSize-1)&^(BlockSize-1))
	}
	return off, length
}

func (m *model) write() {
	name, d, data := m.disk()
	off, n := m.span(len(data))
	p := make([]byte, 0, n+SectorSize)
	for fill := byte(m.rng.Uint32()); len(p) < n; fill++ {
		p = append(p, bytes.Repeat([]byte{fill}, SectorSize)...)
	}
	p = p[:n]
	fua := m.rng.IntN(8) == 0
	m.say("write %s %d+%d fua=%v", name, off, n, fua)
	require.NoError(m.t, d.WriteAt(ctx, p, int64(off), fua))
	copy(data[off:], p)
}

func (m *model) zero() {
	name, d, data := m.disk()
	off, n := m.span(len(data))
	if m.rng.IntN(3) == 0 {
		m.say("trim %s %d+%d", name, off, n)
		require.NoError(m.t, d.Trim(ctx, int64(off), int64(n), m.rng.IntN(8) == 0))
		start, end := (off+BlockSize-1)&^(BlockSize-1), off+n
		if end != len(data) {
			end &^= BlockSize - 1
		}
		if start < end {
			clear(data[start:end])
		}
		return
	}
	noHole := m.rng.IntN(2) == 0
	m.say("zero %s %d+%d nohole=%v", name, off, n, noHole)
	require.NoError(m.t, d.WriteZeroes(ctx, int64(off), int64(n), noHole, m.rng.IntN(8) == 0))
	clear(data[off : off+n])
}

func (m *model) flush() {
	name, d, _ := m.disk()
	m.say("flush %s", name)
	require.NoError(m.t, d.Flush(ctx))
}

func (m *model) capture() {
	name, _, data := m.disk()
	image := m.name("capture")
	m.say("capture %s of %s", image, name)
	_, err := m.s.CaptureImage(ctx, name, ImportRequest{Name: image})
	require.NoError(m.t, err)
	m.images[image] = bytes.Clone(data)
}

func (m *model) snapshot() {
	name, _, data := m.disk()
	snap := m.name("snap")
	m.say("snapshot %s of %s", snap, name)
	_, err := m.s.CreateSnapshot(ctx, name, SnapshotRequest{Name: snap})
	require.NoError(m.t, err)
	m.keep(name, snap, data)
	if m.rng.IntN(2) == 0 {
		require.NoError(m.t, m.s.DeleteSnapshot(ctx, name, snap, ""))
		delete(m.snaps[name], snap)
	}
}

func (m *model) keep(name, snap string, data []byte) {
	if m.snaps[name] == nil {
		m.snaps[name] = map[string][]byte{}
	}
	m.snaps[name][snap] = bytes.Clone(data)
}

// pickSnapshot picks a snapshot of a volume in use.
func (m *model) pickSnapshot() (name, snap string, ok bool) {
	if name, ok = pick(m, m.inUse()); ok {
		snap, ok = pick(m, m.snaps[name])
	}
	return name, snap, ok
}

func (m *model) deleteSnapshot() {
	if name, snap, ok := m.pickSnapshot(); ok {
		m.say("delete snapshot %s of %s", snap, name)
		require.NoError(m.t, m.s.DeleteSnapshot(ctx, name, snap, ""))
		delete(m.snaps[name], snap)
	}
}

func (m *model) rollBack() {
	name, snap, ok := m.pickSnapshot()
	if !ok {
		return
	}
	kept := m.name("kept")
	m.say("roll back %s to %s, keep %s", name, snap, kept)
	m.close(name)
	_, err := m.s.RollBack(ctx, name, snap, SnapshotRequest{Name: kept})
	require.NoError(m.t, err)
	m.keep(name, kept, m.volumes[name])
	m.volumes[name] = bytes.Clone(m.snaps[name][snap])
}

func (m *model) cloneSnapshot() {
	name, snap, ok := m.pickSnapshot()
	if !ok {
		return
	}
	if m.rng.IntN(2) == 0 {
		image := m.name("capture")
		m.say("capture %s of %s of %s", image, snap, name)
		_, err := m.s.CaptureSnapshot(ctx, name, snap, ImportRequest{Name: image})
		require.NoError(m.t, err)
		m.images[image] = bytes.Clone(m.snaps[name][snap])
		return
	}
	clone := m.name("volume")
	m.say("clone %s of snapshot %s of %s", clone, snap, name)
	_, err := m.s.CreateVolume(ctx, CloneRequest{Name: clone, Volume: name, Snapshot: snap})
	require.NoError(m.t, err)
	m.volumes[clone] = bytes.Clone(m.snaps[name][snap])
}

// retire retires a volume or restores one.
func (m *model) retire() {
	if name, ok := pick(m, m.retired); ok && m.rng.IntN(2) == 0 {
		m.say("restore %s", name)
		_, err := m.s.RestoreVolume(ctx, name, "", "")
		require.NoError(m.t, err)
		delete(m.retired, name)
		return
	}
	if name, ok := pick(m, m.inUse()); ok {
		m.say("retire %s", name)
		m.close(name)
		require.NoError(m.t, m.s.RetireVolume(ctx, name, time.Hour, ""))
		m.retired[name] = true
	}
}

func (m *model) grow() {
	name, _, data := m.disk()
	size := len(data) + m.size()
	m.say("grow %s to %d", name, size)
	_, err := m.s.GrowVolume(ctx, name, int64(size))
	require.NoError(m.t, err)
	m.volumes[name] = append(data, make([]byte, size-len(data))...)
}

func (m *model) close(name string) {
	if d := m.open[name]; d != nil {
		require.NoError(m.t, d.Close())
		delete(m.open, name)
	}
}

func (m *model) delete() {
	if name, ok := pick(m, m.inUse()); ok && m.rng.IntN(2) == 0 {
		m.say("delete %s", name)
		m.close(name)
		require.NoError(m.t, m.s.DeleteVolume(ctx, name, ""))
		delete(m.volumes, name)
		delete(m.snaps, name)
	} else if name, ok := pick(m, m.images); ok {
		m.say("delete %s", name)
		require.NoError(m.t, m.s.DeleteImage(ctx, name, ""))
		delete(m.images, name)
	}
}

// reopen closes the store, or kills it, and opens it again.
func (m *model) reopen(kill bool) {
	m.say("reopen kill=%v", kill)
	if kill {
		m.s.kill()
	} else {
		for name := range m.open {
			m.close(name)
		}
		require.NoError(m.t, m.s.Close())
	}
	clear(m.open)
	requireClean(m.t, m.dir)
	m.s = openStore(m.t, m.dir)
}

// check compares every volume and every image with the model.
func (m *model) check() {
	m.say("check")
	for name, snaps := range m.snaps {
		for snap, want := range snaps {
			if m.retired[name] {
				continue
			}
			d, err := m.s.OpenSnapshot(ctx, name, snap)
			require.NoError(m.t, err)
			m.requireSame(want, d, name+"/"+snap)
			require.NoError(m.t, d.Close())
		}
	}
	for name, want := range m.inUse() {
		if m.open[name] == nil {
			m.open[name] = openVolume(m.t, m.s, name)
		}
		m.requireSame(want, m.open[name], name)
		requireExtents(m.t, m.open[name], want)
	}
	for name, want := range m.images {
		d, err := m.s.OpenImage(ctx, name)
		require.NoError(m.t, err)
		m.requireSame(want, d, name)
		require.NoError(m.t, d.Close())
	}
}

// requireSame compares a disk with what it should read as.
func (m *model) requireSame(want []byte, d *Disk, name string) {
	m.t.Helper()
	require.EqualValues(m.t, len(want), d.Size(), name)
	for off := 0; off < len(want); off += len(m.buf) {
		got := m.buf[:min(len(m.buf), len(want)-off)]
		require.NoError(m.t, d.ReadAt(ctx, got, int64(off)))
		if bytes.Equal(want[off:off+len(got)], got) {
			continue
		}
		for i := range got {
			if at := off + i; want[at] != got[i] {
				require.Failf(m.t, "content differs", "%s at %d (block %d): want %d, got %d", name, at, at/BlockSize, want[at], got[i])
			}
		}
	}
}

// requireExtents checks that extents cover the disk and zero ones are zero.
func requireExtents(t *testing.T, d *Disk, want []byte) {
	t.Helper()
	at := int64(0)
	require.NoError(t, d.Extents(ctx, 0, d.Size(), func(n int64, zero, _ bool) bool {
		require.Positive(t, n)
		if zero {
			require.True(t, isZeroLong(want[at:at+n]), "extent %d+%d", at, n)
		}
		at += n
		return true
	}))
	require.Equal(t, d.Size(), at)
}
