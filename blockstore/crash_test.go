package blockstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
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

// compareNames finds out what became of names in doubt.
func (r *crashRun) compareNames() {
	have := map[string]bool{}
	images, err1 := r.s.Images(ctx)
	r.disk.pause(true)
	volumes, err2 := r.s.Volumes(ctx)
	r.disk.pause(false)
	if err := errors.Join(err1, err2); err != nil {
		r.fail("list: %w", err)
		return
	}
	for _, i := range images {
		have[i.Name] = true
	}
	for _, v := range volumes {
		have[v.Name] = true
	}
	if r.died() {
		return // what is listed may be younger than the crash
	}
	for _, v := range r.sortedVolumes() {
		if !r.settleName(have, v.name, &v.doubt) {
			delete(r.volumes, v.name)
		}
	}
	for _, img := range r.sortedImages() {
		if !r.settleName(have, img.name, &img.doubt) {
			delete(r.images, img.name)
		} else if img.from != nil {
			img.from.flushedAt(img.at) // one commit made both durable
		}
		img.from = nil
	}
	for name := range have {
		r.fail("%s was deleted, or never made", name)
	}
}

func (r *crashRun) settleName(have map[string]bool, name string, d *doubt) bool {
	if !have[name] && *d == noDoubt {
		r.fail("%s is gone", name)
	}
	there := have[name]
	delete(have, name)
	*d = noDoubt
	return there
}

// reopenVolume opens a volume, which recovers it, and compares it.
func (r *crashRun) reopenVolume(v *crashVolume) {
	d, err := r.s.OpenVolume(ctx, v.name)
	if r.died() {
		return
	}
	if err != nil && (r.unsure() || r.disk.faulty()) {
		r.say("  %v", err)
		if errors.Is(err, ErrFailed) {
			r.uncertain.Store(true)
		}
		return
	}
	if err != nil {
		r.fail("open %s: %w", v.name, err)
		return
	}
	v.disk = d
	if r.acceptLoss(v) {
		r.compareVolume(v)
	}
}

func (r *crashRun) compareVolume(v *crashVolume) {
	got := r.buffer(v.disk.Size())
	r.disk.pause(true)
	err := v.disk.ReadAt(ctx, got, 0)
	info, infoErr := r.s.Volume(ctx, v.name)
	r.disk.pause(false)
	if r.died() || r.unsure() && errors.Is(err, ErrFailed) {
		return
	}
	if err := errors.Join(err, infoErr); err != nil {
		r.fail("read %s: %w", v.name, err)
		return
	}
	powerLoss, larger := v.powerLoss, v.larger
	var named *FailureInfo
	if f := info.Failure; f != nil && f.Accepted != v.accepted {
		named, v.accepted = f, f.Accepted
	}
	lost, err := r.settle(v, got, r.unsure(), named)
	if err != nil {
		r.fail("%w", err)
	}
	if r.noMetadata && int64(len(got)) != larger {
		v.larger = larger // what memory says may not be what the disk says
	}
	if info.Epoch < v.epoch || lost && powerLoss && info.Epoch == v.epoch {
		r.fail("%s: acknowledged writes are lost, and its epoch went from %d to %d", v.name, v.epoch, info.Epoch)
	}
	v.epoch = info.Epoch
}

func (r *crashRun) compareImage(img *crashImage) {
	d, err := r.s.OpenImage(ctx, img.name)
	if err != nil {
		r.fail("open image %s: %w", img.name, err)
		return
	}
	defer d.Close()
	got := r.buffer(d.Size())
	r.disk.pause(true)
	err = d.ReadAt(ctx, got, 0)
	r.disk.pause(false)
	if err != nil {
		r.fail("read image %s: %w", img.name, err)
		return
	}
	if r.died() {
		return
	}
	if err := r.settleImage(img, got); err != nil {
		r.fail("%w", err)
	}
}

func (r *crashRun) sortedVolumes() []*crashVolume {
	return slices.SortedFunc(maps.Values(r.volumes), func(a, b *crashVolume) int { return strings.Compare(a.name, b.name) })
}

func (r *crashRun) sortedImages() []*crashImage {
	return slices.SortedFunc(maps.Values(r.images), func(a, b *crashImage) int { return strings.Compare(a.name, b.name) })
}

func (r *crashRun) step() {
	switch n := r.rng.IntN(100); {
	case n < 4:
		r.importImage()
	case n < 12:
		r.clone()
	case n < 50:
		r.write(r.rng, r.volume(), 0, 1)
	case n < 66:
		r.zero(r.rng, r.volume(), 0, 1)
	case n < 76:
		r.flush(r.volume())
	case n < 81:
		r.captureImage(r.volume())
	case n < 84:
		r.growVolume(r.volume())
	case n < 89:
		r.delete()
	case n < 91:
		if v := r.volume(); v != nil {
			r.say("close %s", v.name)
			r.closeVolume(v)
		}
	case n < 96:
		r.stormy(r.volume())
	case n < 98:
		r.s.reclaim.wake()
		runtime.Gosched()
	default:
		if v := r.volume(); v != nil {
			r.compareVolume(v)
		}
	}
}

func (r *crashRun) name(kind string) string {
	r.names++
	return fmt.Sprintf("%s-%d", kind, r.names)
}

// size picks a size in bytes: mostly small, in some seeds of two regions.
func (r *crashRun) size() int {
	switch n := r.rng.IntN(12); {
	case n < 3 && r.large:
		return SectorSize * (1 + r.rng.IntN(36000))
	case n == 3:
		return SectorSize * (1 + r.rng.IntN(4000))
	}
	return SectorSize * (1 + r.rng.IntN(400))
}

// buffer returns memory to read a disk into, until the next call.
func (r *crashRun) buffer(n int64) []byte {
	if int64(len(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	return r.buf[:n]
}

// fill writes contents that are told apart.
func (r *crashRun) fill(p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := 0; at < len(p); at += SectorSize {
		r.stamp++
		s := p[at:min(at+SectorSize, len(p))]
		if len(s) < 8 {
			for i := range s {
				s[i] = byte(r.stamp) | 1
			}
			continue
		}
		binary.BigEndian.PutUint64(s, r.stamp)
		for i := 8; i < len(s); i *= 2 {
			copy(s[i:], s[:i])
		}
	}
}

// content makes a disk in which much is zero.
func (r *crashRun) content(size int) []byte {
	b := make([]byte, size)
	for range 1 + r.rng.IntN(4) {
		at := r.rng.IntN(size)
		r.fill(b[at:min(size, at+r.rng.IntN(256<<10))])
	}
	return b
}

func (r *crashRun) importImage() {
	if len(r.images) > 4 {
		return
	}
	img := &crashImage{name: r.name("image"), doubt: beingMade, content: r.content(r.size())}
	r.say("import %s, %d bytes", img.name, len(img.content))
	r.images[img.name] = img
	_, err := r.s.ImportImage(ctx, &memorySource{data: img.content}, ImportRequest{Name: img.name})
	if r.check(err, "import") {
		img.doubt = noDoubt
	} else if r.undone(err) {
		delete(r.images, img.name)
	}
}

func (r *crashRun) clone() {
	if len(r.volumes) > 3 {
		return
	}
	name, image, size := r.name("volume"), "", r.size()
	var content []byte
	if images := r.sortedImages(); len(images) > 0 && r.rng.IntN(4) > 0 {
		img := images[r.rng.IntN(len(images))]
		if img.doubt != noDoubt {
			return
		}
		image, content = img.name, bytes.Clone(img.content)
		size = len(content) + r.rng.IntN(2)*size
	}
	v := newCrashVolume(name, append(content, make([]byte, size-len(content))...))
	v.doubt = beingMade
	r.say("create %s of %q, %d bytes", name, image, size)
	r.volumes[name] = v
	_, err := r.s.CreateVolume(ctx, CloneRequest{Name: name, Image: image, Size: int64(size)})
	if r.check(err, "create %s", name) {
		v.doubt = noDoubt
	}
}

// volume picks a volume and opens it.
func (r *crashRun) volume() *crashVolume {
	volumes := r.sortedVolumes()
	if len(volumes) == 0 {
		r.clone()
		if volumes = r.sortedVolumes(); len(volumes) == 0 || r.died() {
			return nil
		}
	}
	v := volumes[r.rng.IntN(len(volumes))]
	if v.doubt != noDoubt {
		return nil
	}
	if v.disk == nil {
		r.reopenVolume(v)
	}
	if v.disk == nil || r.died() {
		return nil
	}
	return v
}

// span picks a range of a part of a disk: often aligned, often small, often
// where others were.
func span(rng *rand.Rand, size int, part, parts int) (off, length int) {
	low := size / parts * part &^ (BlockSize - 1)
	high := size
	if part+1 < parts {
		high = size / parts * (part + 1) &^ (BlockSize - 1)
	}
	if high <= low {
		return 0, 0
	}
	length = 1 + rng.IntN(3*BlockSize)
	switch rng.IntN(24) {
	case 0:
		length = 1 + rng.IntN(2<<20)
	case 1, 2, 3, 4:
		length = 1 + rng.IntN(128<<10)
	}
	length = min(length, high-low)
	off = rng.IntN(high - low - length + 1)
	if rng.IntN(3) > 0 {
		off = rng.IntN(min(high-low-length, 48<<10) + 1)
	}
	off += low
	if rng.IntN(2) == 0 {
		off &^= BlockSize - 1
		length = min(high-off, (length+BlockSize-1)&^(BlockSize-1))
	}
	return off, length
}

// change makes a change of a volume known, does it, and takes the outcome.
func (r *crashRun) change(v *crashVolume, off int, data []byte, fua bool, do func() error) {
	if len(data) == 0 {
		return
	}
	r.begin(v, int64(off), data)
	err := do()
	if r.check(err, "change of %s", v.name) {
		r.ack(v, int64(off), int64(len(data)), fua)
		return
	}
	if err == nil || r.died() || r.storm > 0 {
		return
	}
	r.compareVolume(v) // each block is as before or as written
}

func (r *crashRun) write(rng *rand.Rand, v *crashVolume, part, parts int) {
	if v == nil {
		return
	}
	off, n := span(rng, len(v.content), part, parts)
	data := make([]byte, n)
	r.fill(data)
	fua := rng.IntN(10) == 0
	r.say("write %s %d+%d fua=%v", v.name, off, n, fua)
	r.change(v, off, data, fua, func() error { return v.disk.WriteAt(ctx, data, int64(off), fua) })
}

func (r *crashRun) zero(rng *rand.Rand, v *crashVolume, part, parts int) {
	if v == nil {
		return
	}
	off, n := span(rng, len(v.content), part, parts)
	fua, noHole := rng.IntN(10) == 0, rng.IntN(2) == 0
	if rng.IntN(2) == 0 {
		r.say("write zeroes %s %d+%d nohole=%v fua=%v", v.name, off, n, noHole, fua)
		r.change(v, off, make([]byte, n), fua, func() error {
			return v.disk.WriteZeroes(ctx, int64(off), int64(n), noHole, fua)
		})
		return
	}
	start, end := (off+BlockSize-1)&^(BlockSize-1), off+n
	if end != len(v.content) {
		end &^= BlockSize - 1
	}
	r.say("trim %s %d+%d fua=%v", v.name, off, n, fua)
	r.change(v, start, make([]byte, max(0, end-start)), fua, func() error { return v.disk.Trim(ctx, int64(off), int64(n), fua) })
}

func (r *crashRun) flush(v *crashVolume) {
	if v == nil {
		return
	}
	r.say("flush %s", v.name)
	at := r.now()
	if r.check(v.disk.Flush(ctx), "flush %s", v.name) {
		r.flushed(v, at)
	}
}

func (r *crashRun) captureImage(v *crashVolume) {
	if v == nil || len(r.images) > 5 {
		return
	}
	img := &crashImage{name: r.name("capture"), doubt: beingMade, from: v, at: r.now()}
	r.say("capture %s of %s", img.name, v.name)
	r.images[img.name] = img
	_, err := r.s.CaptureImage(ctx, v.name, ImportRequest{Name: img.name})
	r.capture(img, v, img.at)
	switch {
	case r.check(err, "capture %s", v.name):
		img.doubt, img.from = noDoubt, nil
		r.flushed(v, img.at)
		r.compareImage(img)
	case r.undone(err):
		delete(r.images, img.name)
	}
}

func (r *crashRun) growVolume(v *crashVolume) {
	if v == nil || len(v.content) > 20<<20 || v.larger != 0 { // it may have grown
		return
	}
	v.larger = int64(len(v.content) + r.size())
	r.say("grow %s to %d", v.name, v.larger)
	_, err := r.s.GrowVolume(ctx, v.name, v.larger)
	if r.check(err, "grow %s", v.name) {
		v.grow(v.larger)
	} else if r.undone(err) {
		r.compareVolume(v) // it may have grown
	}
}

func (r *crashRun) delete() {
	if volumes := r.sortedVolumes(); len(volumes) > 0 && r.rng.IntN(2) == 0 {
		r.deleteVolume(volumes[r.rng.IntN(len(volumes))])
	} else if images := r.sortedImages(); len(images) > 0 {
		r.deleteImage(images[r.rng.IntN(len(images))])
	}
}

func (r *crashRun) deleteVolume(v *crashVolume) {
	if v.doubt != noDoubt {
		return
	}
	r.say("delete %s", v.name)
	r.closeVolume(v)
	if r.died() || r.failed != nil {
		return
	}
	v.doubt = beingDeleted
	err := r.s.DeleteVolume(ctx, v.name, "")
	if r.check(err, "delete %s", v.name) {
		delete(r.volumes, v.name)
	} else if r.undone(err) {
		v.doubt = noDoubt
	}
}

func (r *crashRun) deleteImage(img *crashImage) {
	if img.doubt != noDoubt {
		return
	}
	r.say("delete %s", img.name)
	img.doubt = beingDeleted
	err := r.s.DeleteImage(ctx, img.name, "")
	if r.check(err, "delete %s", img.name) {
		delete(r.images, img.name)
	} else if r.undone(err) {
		img.doubt = noDoubt
	}
}

// stormy has several writers at work on parts of a volume that do not meet,
// while it is flushed or captured.
func (r *crashRun) stormy(v *crashVolume) {
	const writers = 3
	if v == nil || len(v.content) < 8*writers*BlockSize {
		return
	}
	r.mu.Lock()
	r.storm++
	r.mu.Unlock()
	var wg sync.WaitGroup
	for w := range writers {
		rng := rand.New(rand.NewPCG(r.rng.Uint64(), uint64(w)))
		wg.Go(func() {
			for steps := 1 + rng.IntN(6); steps > 0 && !r.died() && !r.disk.faulty(); steps-- {
				switch rng.IntN(8) {
				case 0, 1:
					r.zero(rng, v, w, writers)
				case 2:
					r.flush(v)
				default:
					r.write(rng, v, w, writers)
				}
			}
		})
	}
	switch r.rng.IntN(3) {
	case 0:
		r.flush(v)
	case 1:
		r.captureImage(v)
	}
	wg.Wait()
	r.calm()
	if r.failed == nil && !r.died() {
		r.compareVolume(v)
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
