package blockstore

import (
	"strings"
)

// simOp is a kind of operation of the simulated disk; kinds make sets.
type simOp uint

const (
	simOpen simOp = 1 << iota
	simRead
	simList
	simCreate
	simWrite
	simPunch
	simTruncate
	simSync
	simSyncDir
	simMap
	simMkdir
	simRemove
	simRename

	simChanges = ^(simOpen | simRead | simList)
)

// simFault makes an operation fail. A write that fails may have written its
// first pages. A sync that fails does so once: the next one returns success,
// and what should have been written may turn back to what the disk has at any
// later time.
type simFault struct {
	ops   simOp
	below string // part of the path
	after int    // operations that match before it
	err   error
	fired bool
}

// inject adds a fault.
func (d *simDisk) inject(f *simFault) *simFault {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, f)
	return f
}

// heal takes out all faults and reports whether one fired.
func (d *simDisk) heal() (fired bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.faults {
		fired = fired || f.fired
	}
	d.faults = nil
	return fired
}

func (d *simDisk) faultLocked(kind simOp, name string) error {
	for _, f := range d.faults {
		if d.paused || f.fired || f.ops&kind == 0 || !strings.Contains(name, f.below) {
			continue
		}
		if f.after--; f.after < 0 {
			f.fired = true
			if kind&(simSync|simSyncDir) != 0 {
				d.badSyncs++
			}
			return f.err
		}
	}
	return nil
}

// simMutant is what a broken file system does wrong; kinds make sets.
type simMutant uint

const (
	mutantDataSyncLies simMutant = 1 << iota // a sync of a data file does nothing
	mutantDirSyncLies                        // nor does one of a directory of data
	mutantLogSyncLies                        // nor one of Pebble's log
	mutantDataSyncLate                       // a sync of a data file comes after the next sync of Pebble's log
	mutantLatePunch                          // holes are punched some time later
	mutantNoMappings                         // what was stored into mappings is gone after a kill
	mutantFlippedBit                         // a crash flips a bit of a data file
	mutantOutOfStep                          // memory that is written from has its page borders elsewhere
)

// lateOp is work that a broken file system has put off.
type lateOp struct {
	in          *simInode
	off, length int64 // a hole
	sync        bool  // instead of it
	due         int   // operation
}

func (d *simDisk) lateLocked() {
	kept := d.late[:0]
	for _, l := range d.late {
		switch {
		case l.sync || l.due > d.ops:
			kept = append(kept, l)
		default:
			l.in.punch(l.off, l.length)
		}
	}
	d.late = kept
}

// syncLate does the syncs that were put off.
func (d *simDisk) syncLate() {
	kept := d.late[:0]
	for _, l := range d.late {
		if l.sync {
			l.in.sync()
		} else {
			kept = append(kept, l)
		}
	}
	d.late = kept
}

// flipBit changes one bit of some data.
func (d *simDisk) flipBit() {
	_, _, layers, err := d.find("/host/blocks/layers")
	if err != nil || layers == nil {
		return
	}
	for _, dir := range layers.dir.entries {
		for _, in := range dir.dir.entries {
			start, end, found := in.nextData(0)
			if !found {
				continue
			}
			n := start/simPageSize + d.rng.Int64N((end-start)/simPageSize)
			p := *in.page(n)
			p[d.rng.IntN(simPageSize)] ^= 1 << d.rng.IntN(8)
			in.set(n, &p)
			return
		}
	}
}

// faulty tells that a fault has fired.
func (d *simDisk) faulty() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.faults {
		if f.fired {
			return true
		}
	}
	return false
}

// syncFailed tells that a sync has failed since the host started.
func (d *simDisk) syncFailed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.badSyncs > 0
}

// pause holds faults back while the test looks at the store.
func (d *simDisk) pause(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.paused = on
}
