package blockstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestReclaimModel makes a store with a random history, deletes some of its disks,
// and has the reclaimer crash at each of its steps in turn: between any two of
// composing, punching, committing and unlinking. Each time, before anybody goes
// on, all that is retained is read as a whole and compared.
func TestReclaimModel(t *testing.T) {
	base, n := modelSeeds(t, 2, 1)
	for seed := base; seed < base+n; seed++ {
		if !t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { newReclaimModel(t, seed).run() }) {
			return
		}
	}
}

// reclaimModel knows what each disk reads as, by "image NAME", "volume NAME" and
// "snapshot VOLUME/NAME".
type reclaimModel struct {
	*testing.T
	seed  uint64
	rng   *rand.Rand
	disk  *simDisk
	s     *Store
	reads map[string][]byte
	stamp byte
}

const reclaimSize = 64 * BlockSize

func newReclaimModel(t *testing.T, seed uint64) *reclaimModel {
	m := &reclaimModel{T: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 6)), disk: newHost(seed), reads: map[string][]byte{}}
	var err error
	m.s, err = Open(crashDir, simOptions(m.disk))
	require.NoError(t, err)
	m.s.reclaim.stop() // until its steps are looked at one by one
	return m
}

func (m *reclaimModel) run() {
	m.history()
	m.deleteSome()
	// What was deleted is committed, and so is what was written.
	base := m.disk.crash(false)
	m.s.kill()
	require.Empty(m, m.differences(base), "before the first step")
	steps := 0
	for n := 1; ; n++ {
		disk := base.copy(uint64(n))
		disk.arm(n, n%2 == 0)
		m.reclaim(disk)
		next := disk.crashed()
		if next == nil {
			require.Empty(m, m.differences(disk), "reclaimed")
			m.requireReclaimed(disk)
			break
		}
		steps++
		require.Empty(m, m.differences(next), "seed %d, crash at step %d", m.seed, n)
		if testing.Short() || n%4 > 0 {
			continue
		}
		// It goes on from there, and is cut off again.
		again := next.copy(uint64(n))
		again.arm(1+m.rng.IntN(20), n%8 == 0)
		m.reclaim(again)
		if third := again.crashed(); third != nil {
			require.Empty(m, m.differences(third), "seed %d, crash at step %d and again", m.seed, n)
			again = third
			m.reclaim(again)
		}
		require.Empty(m, m.differences(again), "seed %d, gone on after step %d", m.seed, n)
		m.requireReclaimed(again)
	}
	m.Logf("%d steps, %d disks retained", steps, len(m.reads))
}

// history makes images, volumes, snapshots, clones and rollbacks.
func (m *reclaimModel) history() {
	data := make([]byte, reclaimSize)
	for b := range len(data) / BlockSize {
		m.stamp++
		copy(data[b<<blockShift:], block(m.stamp))
	}
	importBytes(m.T, m.s, "base", data)
	m.reads["image base"] = data
	_, err := m.s.CreateVolume(ctx, CloneRequest{Name: "v0", Image: "base"})
	require.NoError(m, err)
	m.reads["volume v0"] = bytes.Clone(data)
	volumes := []string{"v0"}
	for i := 0; m.seed%2 == 0 && i < fullEvery+2; i++ { // until a full record names older layers
		m.write("v0")
		m.snapshot("v0")
	}
	for range 24 + m.rng.IntN(16) {
		name := volumes[m.rng.IntN(len(volumes))]
		switch k := m.rng.IntN(12); {
		case k < 5:
			m.write(name)
		case k < 9:
			m.snapshot(name)
		case k < 11 && len(volumes) < 5:
			volumes = append(volumes, m.clone(fmt.Sprint("v", len(volumes))))
		default:
			m.rollBack()
		}
	}
}

func (m *reclaimModel) write(name string) {
	d := openVolume(m.T, m.s, name)
	content := m.reads["volume "+name]
	for range 1 + m.rng.IntN(6) {
		off := m.rng.IntN(len(content)/BlockSize-4) << blockShift
		n := (1 + m.rng.IntN(4)) << blockShift
		if m.rng.IntN(4) == 0 {
			require.NoError(m, d.Trim(ctx, int64(off), int64(n), false))
			clear(content[off : off+n])
			continue
		}
		m.stamp++
		data := bytes.Repeat(block(m.stamp|1), n/BlockSize)
		require.NoError(m, d.WriteAt(ctx, data, int64(off), false))
		copy(content[off:], data)
	}
	require.NoError(m, d.Close())
}

func (m *reclaimModel) snapshot(name string) {
	info, err := m.s.CreateSnapshot(ctx, name, SnapshotRequest{Name: fmt.Sprint("s", len(m.reads))})
	require.NoError(m, err)
	m.reads["snapshot "+name+"/"+info.Name] = bytes.Clone(m.reads["volume "+name])
}

// of returns a random disk of a kind, without the kind.
func (m *reclaimModel) of(kind string) (name string, found bool) {
	var names []string
	for _, key := range slices.Sorted(maps.Keys(m.reads)) {
		if rest, ok := strings.CutPrefix(key, kind+" "); ok {
			names = append(names, rest)
		}
	}
	if len(names) == 0 {
		return "", false
	}
	return names[m.rng.IntN(len(names))], true
}

func (m *reclaimModel) clone(name string) string {
	req, from := CloneRequest{Name: name, Image: "base"}, "image base"
	if sn, ok := m.of("snapshot"); ok && m.rng.IntN(4) > 0 {
		req.Image = ""
		req.Volume, req.Snapshot, _ = strings.Cut(sn, "/")
		from = "snapshot " + sn
	}
	_, err := m.s.CreateVolume(ctx, req)
	require.NoError(m, err)
	m.reads["volume "+name] = bytes.Clone(m.reads[from])
	return name
}

func (m *reclaimModel) rollBack() {
	sn, ok := m.of("snapshot")
	if !ok {
		return
	}
	volume, snapshot, _ := strings.Cut(sn, "/")
	kept, err := m.s.RollBack(ctx, volume, snapshot, SnapshotRequest{Name: fmt.Sprint("before-", len(m.reads))})
	require.NoError(m, err)
	m.reads["snapshot "+volume+"/"+kept.Name] = m.reads["volume "+volume]
	m.reads["volume "+volume] = bytes.Clone(m.reads["snapshot "+sn])
}

// deleteSome gives up half of the disks.
func (m *reclaimModel) deleteSome() {
	for _, key := range slices.Sorted(maps.Keys(m.reads)) {
		kind, name, _ := strings.Cut(key, " ")
		if m.rng.IntN(2) == 0 || m.reads[key] == nil {
			continue
		}
		switch kind {
		case "image":
			require.NoError(m, m.s.DeleteImage(ctx, name, ""))
		case "snapshot":
			volume, snapshot, _ := strings.Cut(name, "/")
			require.NoError(m, m.s.DeleteSnapshot(ctx, volume, snapshot, ""))
		case "volume":
			if m.rng.IntN(2) == 0 {
				continue
			}
			require.NoError(m, m.s.DeleteVolume(ctx, name, ""))
			for other := range m.reads {
				if strings.HasPrefix(other, "snapshot "+name+"/") {
					delete(m.reads, other)
				}
			}
		}
		delete(m.reads, key)
	}
}

// reclaim opens a store, lets the reclaimer work until it is done or the disk
// crashes, and ends it as a kill does.
func (m *reclaimModel) reclaim(disk *simDisk) {
	s, err := Open(crashDir, simOptions(disk))
	if err != nil {
		require.NotNil(m, disk.crashed(), "%v", err)
		return
	}
	// Its own goroutine ends first, wherever it is; the rest is done here.
	s.reclaim.stop()
	own, quit := context.WithCancelCause(ctx)
	defer quit(nil)
	r := &reclaimer{s: s, wakeup: make(chan struct{}, 1), ctx: own, quit: quit, trimmed: map[layerID]time.Time{}}
	r.round()
	if disk.crashed() == nil {
		require.NoError(m, s.Close())
		return
	}
	s.kill()
}

// differences reads all that is retained, as it stands: nobody goes on.
func (m *reclaimModel) differences(disk *simDisk) (wrong []string) {
	rest, err := openAtRest(crashDir, simOptions(disk.copy(1)))
	require.NoError(m, err)
	v, err := rest.view(rest.metaDir())
	require.NoError(m, err)
	seen := map[string]bool{}
	compare := func(name string, l *lineage, version *version) {
		seen[name] = true
		d := &Disk{image: v.view(l, version.number, version.rec.Size)}
		got := make([]byte, d.Size())
		if err := d.ReadAt(ctx, got, 0); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", name, err))
		} else if want, ok := m.reads[name]; !ok {
			wrong = append(wrong, name+" was deleted")
		} else if !bytes.Equal(got, want) {
			at := 0
			for got[at] == want[at] {
				at++
			}
			wrong = append(wrong, fmt.Sprintf("%s, block %d: %x, not %x", name, at>>blockShift, got[at], want[at]))
		}
		d.image.close()
	}
	for name, e := range v.cat.mu.images {
		compare("image "+name, e.lineage, e.version)
	}
	for name, e := range v.cat.mu.volumes {
		compare("volume "+name, e.lineage, e.lineage.tip())
		for sn, snap := range e.snapshots {
			compare("snapshot "+name+"/"+sn, snap.lineage, snap.version)
		}
	}
	for name := range m.reads {
		if !seen[name] {
			wrong = append(wrong, name+" is gone")
		}
	}
	require.NoError(m, v.endView())
	require.NoError(m, rest.close())
	return wrong
}

// requireReclaimed: a check finds nothing, and no version is left that nothing
// needs, but for those that a volume's top stands on.
func (m *reclaimModel) requireReclaimed(disk *simDisk) {
	report, err := CheckStore(ctx, crashDir, simOptions(disk))
	require.NoError(m, err)
	require.Empty(m, report.Findings)
	rest, err := openAtRest(crashDir, simOptions(disk))
	require.NoError(m, err)
	v, err := rest.view(rest.metaDir())
	require.NoError(m, err)
	r := &reclaimer{s: v}
	for _, l := range v.cat.mu.lineages {
		for _, version := range l.versions {
			require.True(m, !l.unneeded(version) || r.isBase(l, version), "layer %s is left", layerDir(layerID{l.id, version.number}))
		}
	}
	require.NoError(m, v.endView())
	require.NoError(m, rest.close())
}
