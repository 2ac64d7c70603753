package blockstore

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"
)

var (
	crashSeed  = flag.Uint64("crash.seed", 0, "run the crash test with this seed only")
	crashSeeds = flag.Int("crash.seeds", 0, "run the crash test with so many seeds in each mode")
	crashLog   = flag.Bool("crash.log", false, "print what the crash test does and what the store logs")
)

// TestCrash runs random operations on a store over a simulated disk that
// crashes at a random one of its own operations, again and again, and compares
// what is found each time with what was promised.
func TestCrash(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for _, mode := range []crashMode{crashKill, crashPower, crashFaults} {
		t.Run(string(mode), func(t *testing.T) {
			n, base := *crashSeeds, uint64(time.Now().UnixNano())
			switch {
			case *crashSeed != 0:
				n, base = 1, *crashSeed
			case n == 0 && testing.Short():
				n = 25
			case n == 0:
				n = 300
			}
			start := time.Now()
			for seed := base; seed < base+uint64(n); seed++ {
				if err := runCrash(seed, mode, crashMutant{}); err != nil {
					t.Fatalf("%v\nrun again with -run 'TestCrash/%s' -crash.seed=%d", err, mode, seed)
				}
			}
			t.Logf("%d seeds, %.0f each second", n, float64(n)/time.Since(start).Seconds())
		})
	}
}

type crashMode string

const (
	crashKill   crashMode = "kill"
	crashPower  crashMode = "power"  // and kills
	crashFaults crashMode = "faults" // and power losses and kills
)

// emptyStore is a disk with an empty store, for most seeds to begin with.
var emptyStore = sync.OnceValue(func() *simDisk {
	r := newCrashRun(1, crashKill, crashMutant{})
	r.disk = newHost(1)
	r.open()
	_ = r.s.Close()
	return r.disk
})

// crashRun is one seed.
type crashRun struct {
	*crashModel
	rng    *rand.Rand
	mode   crashMode
	mutant crashMutant
	disk   *simDisk
	s      *Store

	boot      int
	uncertain *atomic.Bool // a volume has failed in this boot
	interval  time.Duration
	bytes     int64
	memory    uint64 // of Pebble's memtables
	ring      int    // size of intent rings
	large     bool   // disks of several regions
	stamp     uint64
	names     int
	log       []string
	failed    error
	// noMetadata says that a commit of the metadata may have failed.
	noMetadata bool
	buf        []byte
}

func newCrashRun(seed uint64, mode crashMode, mutant crashMutant) *crashRun {
	r := &crashRun{crashModel: newCrashModel(), rng: rand.New(rand.NewPCG(seed, 1)), mode: mode, mutant: mutant, boot: 1, uncertain: new(atomic.Bool)}
	r.interval = []time.Duration{time.Hour, time.Hour, 200 * time.Microsecond, 3 * time.Millisecond}[r.rng.IntN(4)]
	r.bytes = []int64{1 << 40, 1 << 40, 256 << 10, 16 << 10}[r.rng.IntN(4)]
	r.large = r.rng.IntN(16) == 0
	r.memory = []uint64{16 << 10, 64 << 10, 64 << 10}[r.rng.IntN(3)]
	r.ring = []int{4 << 10, 16 << 10, simRing}[r.rng.IntN(3)] // they fill up
	return r
}

// runCrash returns what is wrong with the store, if anything.
func runCrash(seed uint64, mode crashMode, mutant crashMutant) error {
	r := newCrashRun(seed, mode, mutant)
	if r.rng.IntN(12) == 0 {
		r.disk = newHost(seed)
	} else {
		r.disk = emptyStore().copy(seed)
	}
	r.disk.broken = mutant.disk
	defer r.end()
	for rounds := 2 + r.rng.IntN(3); rounds > 0 && r.failed == nil; rounds-- {
		r.arm()
		for !r.open() && r.failed == nil {
		}
		for steps := 5 + r.rng.IntN(40); steps > 0 && r.failed == nil && !r.died(); steps-- {
			r.step()
		}
		if r.failed == nil {
			r.stop()
		}
	}
	r.finish()
	if r.failed != nil {
		return fmt.Errorf("%w\n%s", r.failed, strings.Join(r.log[max(0, len(r.log)-60):], "\n"))
	}
	return nil
}

// end stops the store after a failure.
func (r *crashRun) end() {
	if r.s != nil {
		r.disk.heal()
		r.s.kill()
	}
}

func (r *crashRun) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, line)
	if *crashLog {
		fmt.Println(line)
	}
}

// storeLog has what the store warns of among what the test says.
type storeLog struct{ r *crashRun }

func (l storeLog) Write(b []byte) (int, error) {
	l.r.say("  %s", bytes.TrimSpace(b))
	return len(b), nil
}

func (r *crashRun) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = fmt.Errorf(format, args...)
	}
}

func (r *crashRun) options() Options {
	o := testOptions()
	o.Logger = slog.New(slog.NewTextHandler(storeLog{r}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	o.fs, o.bootID = simFS{r.disk}, fmt.Sprint(r.boot)
	o.ringSize = r.ring
	o.MapBudget = []int64{1, 4 << 10, 64 << 10, 0}[r.rng.IntN(4)] // pages come and go
	o.CommitInterval, o.CommitBytes, o.OpenFiles = r.interval, r.bytes, 1+r.rng.IntN(8)
	r.mutant.options(&o)
	o.tune = func(p *pebble.Options) {
		p.MemTableSize, p.CacheSize = r.memory, 256<<10
		p.MemTableStopWritesThreshold = 4
	}
	return o
}

// arm sets the crash, and in the mode of faults something that goes wrong
// before.
func (r *crashRun) arm() {
	power := r.mode != crashKill && r.rng.IntN(4) > 0
	n := 1 + r.rng.IntN(40)
	if r.rng.IntN(2) == 0 {
		n = 1 + r.rng.IntN(1000)
	}
	r.disk.arm(n, power)
	if r.mode != crashFaults || r.rng.IntN(4) == 0 {
		return
	}
	f := &simFault{err: []error{unix.EIO, unix.ENOSPC}[r.rng.IntN(2)], below: "/layers", after: r.rng.IntN(30)}
	switch r.rng.IntN(6) {
	case 0, 1:
		f.ops, f.after = simSync, r.rng.IntN(6)
	case 2, 3:
		f.ops = simWrite
	case 4:
		f.ops = simWrite | simPunch | simTruncate | simRead | simCreate | simMkdir | simOpen | simList
	default:
		f.ops, f.after = simSyncDir, r.rng.IntN(4)
	}
	r.disk.inject(f)
}

// unsure tells that a sync has failed in this boot of the host: what was
// written since the last good flush may turn back, and volumes may be closed.
func (r *crashRun) unsure() bool { return r.uncertain.Load() || r.disk.syncFailed() }

func (r *crashRun) died() bool { return r.disk.crashed() != nil }

// check takes the error of an operation. It reports whether the operation was
// acknowledged; if not, the process died meanwhile or a fault explains it.
func (r *crashRun) check(err error, format string, args ...any) (ok bool) {
	if r.died() {
		return false
	}
	if err == nil {
		return true
	}
	if r.disk.faulty() {
		r.say("  %v", err)
		if errors.Is(err, ErrFailed) {
			r.uncertain.Store(true)
		}
		return false
	}
	r.fail(format+": %w", append(args, err)...)
	return false
}

// undone tells that an operation that was refused did not happen. Where the
// metadata cannot be written, that is not known.
func (r *crashRun) undone(err error) bool { return err != nil && !r.died() && !r.noMetadata }

// stop ends the process: by the crash that is armed, by one now, or, rarely,
// in good order.
func (r *crashRun) stop() {
	if !r.died() && r.rng.IntN(5) == 0 {
		r.closeStore()
		if !r.died() {
			return
		}
	}
	r.disk.crash(r.mode != crashKill && r.rng.IntN(2) == 0)
	r.afterCrash()
}

func (r *crashRun) closeStore() {
	r.say("close")
	for _, v := range r.sortedVolumes() {
		r.closeVolume(v)
	}
	if r.died() || r.failed != nil {
		return
	}
	err := r.s.Close()
	r.s = nil
	r.check(err, "close the store")
}

func (r *crashRun) closeVolume(v *crashVolume) {
	if v.disk == nil {
		return
	}
	at := r.now()
	if r.check(v.disk.Close(), "close %s", v.name) {
		r.flushed(v, at)
	}
	v.disk = nil
}

// afterCrash lets the old process run out and goes over to the new host.
func (r *crashRun) afterCrash() {
	r.calm()
	r.say("crash, power=%v", r.disk.power)
	if r.disk.power {
		r.boot++
		r.uncertain.Store(false)
	}
	for _, v := range r.volumes {
		v.disk = nil
		v.powerLoss = v.powerLoss || r.disk.power
	}
	if r.s != nil {
		r.s.kill()
		r.s = nil
	}
	r.disk = r.disk.crashed()
	r.checkClean()
}

// checkClean has a check find nothing in what a crash left.
func (r *crashRun) checkClean() {
	o := testOptions()
	o.fs, o.bootID, o.ringSize = simFS{r.disk}, fmt.Sprint(r.boot), r.ring
	report, err := CheckStore(ctx, crashDir, o)
	if errors.Is(err, ErrNotFound) { // its making was cut short
		return
	}
	if err != nil || len(report.Findings) > 0 {
		r.fail("check after a crash: %+v, %w", report.Findings, err)
	}
}

// open opens the store and compares everything. It reports false if the
// process died meanwhile.
func (r *crashRun) open() bool {
	r.say("open")
	s, err := Open(crashDir, r.options())
	r.s = s
	if err != nil && r.disk.faulty() {
		r.disk.heal()
		if !r.died() {
			s, err = Open(crashDir, r.options())
			r.s = s
		}
	}
	if r.died() {
		if err != nil {
			r.fail("open, while it crashed: %w", err)
			return false
		}
		r.afterCrash()
		r.rearm()
		return false
	}
	if err != nil {
		r.fail("open: %w", err)
		return false
	}
	r.compareNames()
	for _, v := range r.sortedVolumes() {
		if r.failed == nil && !r.died() {
			r.reopenVolume(v)
		}
	}
	for _, img := range r.sortedImages() {
		if r.failed == nil && !r.died() {
			r.compareImage(img)
		}
	}
	if r.died() {
		r.afterCrash()
		r.rearm()
		return false
	}
	return r.failed == nil
}

// rearm sets the next crash, so that recoveries are cut short too.
func (r *crashRun) rearm() {
	if r.failed == nil && r.rng.IntN(3) > 0 {
		r.disk.arm(1+r.rng.IntN(30), r.mode != crashKill && r.rng.IntN(2) == 0)
	}
}

// finish deletes everything, through crashes, and looks for what is left.
func (r *crashRun) finish() {
	for r.failed == nil {
		if r.rng.IntN(2) == 0 {
			r.disk.arm(1+r.rng.IntN(100), r.mode != crashKill && r.rng.IntN(4) > 0)
		}
		if r.s == nil && !r.open() {
			continue
		}
		for _, v := range r.sortedVolumes() {
			if r.failed == nil && !r.died() {
				r.deleteVolume(v)
			}
		}
		for _, img := range r.sortedImages() {
			if r.failed == nil && !r.died() {
				r.deleteImage(img)
			}
		}
		if r.failed == nil && !r.died() && len(r.volumes)+len(r.images) == 0 {
			r.waitReclaimed()
		}
		if r.died() {
			r.afterCrash()
			continue
		}
		break
	}
	if r.failed != nil {
		return
	}
	r.requireEmpty()
	if r.failed == nil {
		r.disk.crash(r.mode != crashKill)
		r.afterCrash()
		if r.open() {
			r.requireEmpty()
		}
	}
}

func (r *crashRun) waitReclaimed() {
	r.disk.heal()
	r.s.reclaim.wake() // it may have given up because of a fault
	// Turns are counted, not time, which goes on while the test is held up.
	for turns := 0; !r.died(); turns++ {
		r.s.cat.mu.Lock()
		n := len(r.s.cat.mu.lineages)
		r.s.cat.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Sleep(20 * time.Microsecond); turns == 1e6 { // a minute and more
			r.s.cat.mu.Lock()
			for _, l := range r.s.cat.mu.lineages {
				for _, v := range l.versions {
					r.say("  left: %s, %+v", layerDir(layerID{l.id, v.number}), *v)
				}
			}
			r.s.cat.mu.Unlock()
			stacks := make([]byte, 1<<20)
			r.say("%s", stacks[:runtime.Stack(stacks, true)])
			r.fail("%d lineages are not reclaimed", n)
			return
		}
	}
}

// requireEmpty finds files and records without a name.
func (r *crashRun) requireEmpty() {
	r.disk.heal()
	for _, dir := range []string{"/layers", "/rings"} {
		names, err := simFS{r.disk}.List(crashDir + dir)
		if err != nil || len(names) > 0 {
			r.fail("left in %s: %q, %v", dir, names, err)
		}
	}
	it, err := r.s.db.NewIter(nil)
	if err != nil {
		r.fail("%w", err)
		return
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if it.Key()[0] != 'S' {
			r.fail("a record is left: %q", it.Key())
		}
	}
}
