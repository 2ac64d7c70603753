package blockstore

import (
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// simDisk is a host in memory: one file system for the store's own files and
// for Pebble's, which can crash in the middle of any operation.
//
// A crash makes another simDisk, next, which is what the next process finds:
// it branches off in one instant and shares nothing that changes. The old
// process lives on in the world as it would be without the crash, where
// everything works, so that it ends in good order; nothing that it does there
// reaches next. What it was told after that instant, nobody heard.
//
// After a kill, next holds all that was written, through shared mappings too.
// After a power loss each sector holds what it held at the last sync of its
// file or any value that was written since; changes of sizes and directories
// since then happened or not, each by itself. What was synced stays.
//
// It is deterministic as far as the order of the operations is.
type simDisk struct {
	mu    sync.Mutex
	rng   *rand.Rand
	root  *simInode
	locks map[string]bool
	ops   int // that could change something

	fuse  int  // operations until the crash; 0: none is coming
	power bool // it is a power loss
	next  *simDisk

	faults   []*simFault
	paused   bool
	loose    []*simInode // a sync of these has failed
	badSyncs int         // in this boot
	broken   simMutant
	late     []lateOp // work of a broken file system
}

const (
	simPageSize = 4096
	simSector   = 512
	simChunk    = 256 // pages
	simVersions = 24  // contents of a page that are remembered until a sync
)

type simPage [simPageSize]byte

var simZero simPage

// simInode is a file or a directory.
type simInode struct {
	dir *simDir

	chunks map[int64]*[simChunk]*simPage // nil pages are holes; pages never change
	size   int64
	// What the pages with changes since the last sync held before, oldest
	// first: the first is what the disk has for sure. sizes is the same.
	before map[int64][]*simPage
	sizes  []int64
	// loose pages were written when a sync failed: they count as clean, but the
	// disk may have any of these.
	loose map[int64][]*simPage

	maps []*simMapping
}

type simDir struct {
	entries map[string]*simInode
	synced  map[string]*simInode
	changes []dirChange // since the last sync, in order
	// ordered: a crash loses the last changes only, as on a file system with a
	// journal. Pebble relies on that: it moves a marker by creating the new
	// one, removing the old one and then syncing the directory.
	ordered bool
}

// dirChange is the creation, removal or renaming of a name.
type dirChange struct {
	name string
	in   *simInode // nil: removed
	from string    // removed with it
}

func (c dirChange) apply(to map[string]*simInode) {
	if c.from != "" {
		delete(to, c.from)
	}
	if c.in == nil {
		delete(to, c.name)
	} else {
		to[c.name] = c.in
	}
}

func newSimDisk(seed uint64) *simDisk {
	d := &simDisk{rng: rand.New(rand.NewPCG(seed, 2)), root: newSimDir(), locks: map[string]bool{}}
	return d
}

func newSimFile() *simInode {
	return &simInode{chunks: map[int64]*[simChunk]*simPage{}, before: map[int64][]*simPage{}}
}

func newSimDir() *simInode {
	return &simInode{dir: &simDir{entries: map[string]*simInode{}, synced: map[string]*simInode{}}}
}

// arm has the disk crash in the n-th operation from now on.
func (d *simDisk) arm(n int, power bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fuse, d.power = n, power
}

// crashed returns the disk after the crash, if there was one.
func (d *simDisk) crashed() *simDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.next
}

// crash crashes now, unless that has happened.
func (d *simDisk) crash(power bool) *simDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.next == nil {
		d.power = power
		d.crashLocked()
	}
	return d.next
}

func (d *simDisk) crashLocked() {
	d.fuse = 0
	d.next = d.branchLocked(d.power)
	d.faults, d.loose, d.late, d.broken = nil, nil, nil, 0
}

// mutant tells what the disk does wrong.
func (d *simDisk) mutant() simMutant {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.broken
}

// copy returns a disk with the same content.
func (d *simDisk) copy(seed uint64) *simDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.branchLocked(false)
	c.rng = rand.New(rand.NewPCG(seed, 2))
	return c
}

// do runs an operation that consists of parts, between any two of which the
// disk may crash; a fault may have it end after some of them.
func (d *simDisk) do(kind simOp, name string, in *simInode, parts int, part func(i int)) error {
	d.mu.Lock()
	defer func() {
		yield := d.rng.IntN(8) == 0
		d.mu.Unlock()
		if yield {
			runtime.Gosched()
		}
	}()
	d.wear()
	err := d.faultLocked(kind, name)
	if err != nil {
		switch {
		case kind == simSync && in != nil && in.dir == nil:
			d.failSync(in)
			return err
		case kind != simWrite:
			return err
		}
		parts = d.rng.IntN(parts)
	}
	crashAt := -1
	if kind&simChanges != 0 {
		d.ops++
		if d.fuse > 0 {
			if d.fuse--; d.fuse == 0 {
				crashAt = d.rng.IntN(parts + 1)
			}
		}
	}
	for i := range parts {
		if i == crashAt {
			d.crashLocked()
		}
		part(i)
	}
	if crashAt == parts {
		d.crashLocked()
	}
	return err
}

// wear is what happens by itself: the kernel writes back shared mappings, and
// drops pages whose writing has failed.
func (d *simDisk) wear() {
	d.lateLocked()
	if len(d.loose) > 0 && d.rng.IntN(16) == 0 {
		in := d.loose[d.rng.IntN(len(d.loose))]
		for n, versions := range in.loose {
			if in.before[n] == nil && d.rng.IntN(2) == 0 { // clean
				in.put(n, tear(d.rng, append(slices.Clip(versions), in.page(n))))
				delete(in.before, n) // and still clean
			}
		}
	}
}

// branchLocked makes what the next process finds.
func (d *simDisk) branchLocked(power bool) *simDisk {
	next := &simDisk{rng: d.rng, locks: map[string]bool{}, broken: d.broken}
	seen := map[*simInode]*simInode{}
	next.root = d.root.branch(d.rng, power, seen)
	if !power {
		next.badSyncs = d.badSyncs
		for _, l := range d.late {
			if c := seen[l.in]; c != nil {
				l.in = c
				next.late = append(next.late, l)
			}
		}
		for _, in := range d.loose {
			if c := seen[in]; c != nil {
				next.loose = append(next.loose, c)
			}
		}
	}
	if d.broken&mutantFlippedBit != 0 {
		next.flipBit()
	}
	next.rng = rand.New(rand.NewPCG(d.rng.Uint64(), 3))
	return next
}

func (in *simInode) branch(rng *rand.Rand, power bool, seen map[*simInode]*simInode) *simInode {
	if c := seen[in]; c != nil {
		return c
	}
	if in.dir != nil {
		c := newSimDir()
		c.dir.ordered = in.dir.ordered
		seen[in] = c
		in.branchDir(c.dir, rng, power, seen)
		return c
	}
	for _, m := range in.maps {
		m.absorb()
	}
	c := &simInode{size: in.size, chunks: make(map[int64]*[simChunk]*simPage, len(in.chunks)), before: map[int64][]*simPage{}}
	seen[in] = c
	for n, chunk := range in.chunks {
		copied := *chunk
		c.chunks[n] = &copied
	}
	if power {
		in.losePower(c, rng)
		return c
	}
	for n, versions := range in.before {
		c.before[n] = slices.Clone(versions)
	}
	c.sizes = slices.Clone(in.sizes)
	c.loose = maps.Clone(in.loose)
	return c
}

func (in *simInode) branchDir(c *simDir, rng *rand.Rand, power bool, seen map[*simInode]*simInode) {
	names := in.dir.entries
	if power {
		names = maps.Clone(in.dir.synced)
		kept := rng.IntN(5) // of 4: none to all
		changes := in.dir.changes
		if in.dir.ordered {
			kept, changes = 4, changes[:rng.IntN(len(changes)+1)]
		}
		for _, change := range changes {
			if rng.IntN(4) < kept {
				change.apply(names)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		c.entries[name] = names[name].branch(rng, power, seen)
	}
	if power {
		c.synced = maps.Clone(c.entries)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(in.dir.synced)) {
		c.synced[name] = in.dir.synced[name].branch(rng, power, seen)
	}
	for _, change := range in.dir.changes {
		if change.in != nil {
			change.in = change.in.branch(rng, power, seen)
		}
		c.changes = append(c.changes, change)
	}
}

// losePower decides for each unsynced sector, and for the size, what c has.
func (in *simInode) losePower(c *simInode, rng *rand.Rand) {
	style := rng.IntN(4)
	pick := func(n int, versions []*simPage) {
		switch {
		case style == 0: // nothing reached the disk
			c.set(int64(n), versions[0])
		case style == 1 && rng.IntN(16) > 0: // nearly everything did
		case style == 2: // pages did or not
			if rng.IntN(2) == 0 {
				c.set(int64(n), versions[rng.IntN(len(versions))])
			}
		default:
			c.set(int64(n), tear(rng, append(slices.Clip(versions), in.page(int64(n)))))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(in.before)) {
		pick(int(n), in.before[n])
	}
	for _, n := range slices.Sorted(maps.Keys(in.loose)) {
		if in.before[n] == nil {
			pick(int(n), in.loose[n])
		}
	}
	if len(in.sizes) > 0 && style != 1 {
		sizes := append(slices.Clip(in.sizes), in.size)
		c.cut(sizes[rng.IntN(len(sizes))])
	}
}

// find returns the inode of a path and the directory that it is in. A missing
// last element leaves in nil.
func (d *simDisk) find(name string) (parent *simInode, base string, in *simInode, err error) {
	in = d.root
	for _, part := range strings.Split(strings.Trim(path.Clean(name), "/"), "/") {
		if part == "" {
			continue
		}
		if in == nil || in.dir == nil {
			return nil, "", nil, os.ErrNotExist
		}
		parent, base, in = in, part, in.dir.entries[part]
	}
	return parent, base, in, nil
}

func (in *simInode) change(c dirChange) {
	c.apply(in.dir.entries)
	in.dir.changes = append(in.dir.changes, c)
}
