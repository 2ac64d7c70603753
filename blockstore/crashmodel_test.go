package blockstore

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// crashModel knows what a store may hold. It is told when an operation begins
// and when it was acknowledged, and what is left open in between.
//
// What is demanded: after a kill every acknowledged change stands, and of one
// under way each 4 KiB block is as before or as changed. After a power loss
// each sector is as at the last flush that was acknowledged, or as any change
// begun since left it. An image reads as it always did. Names that were
// acknowledged stand, names that were deleted are gone.
type crashModel struct {
	mu      sync.Mutex
	clock   uint64
	storm   int // promises wait while it is not 0
	waiting []func()
	volumes map[string]*crashVolume
	images  map[string]*crashImage
}

// doubt is what is not known of a name after a crash.
type doubt int

const (
	noDoubt doubt = iota
	beingMade
	beingDeleted
)

// crashVolume is what a volume may hold.
type crashVolume struct {
	name    string
	doubt   doubt
	content []byte            // as of the last change begun
	sectors map[int64]history // that changed since the last flush
	// was holds the blocks with unacknowledged changes as they were before.
	was    map[int64][]byte
	larger int64 // size if a grow under way takes effect
	// powerLoss says that the host went down since the volume was last seen.
	powerLoss bool
	// accepted is when a loss was accepted last.
	accepted time.Time
	epoch    uint64
	disk     *Disk
}

// history is what a sector held since the last flush, oldest first.
type history []sectorState

type sectorState struct {
	b     *[SectorSize]byte
	acked uint64 // when; 0: flushed, never: not yet
}

const never = ^uint64(0)

// flushed drops what a flush begun at the time at has put out of reach.
func (h history) flushed(at uint64) history {
	for i := len(h) - 1; i > 0; i-- {
		if h[i].acked <= at {
			return h[i:]
		}
	}
	return h
}

func (h history) has(b []byte) bool {
	for _, v := range h {
		if bytes.Equal(v.b[:], b) {
			return true
		}
	}
	return false
}

// crashImage is what an image reads as. While that is in doubt, for it was
// captured under writers, some sectors may hold any of several contents.
type crashImage struct {
	name    string
	doubt   doubt
	content []byte
	either  map[int64]history
	from    *crashVolume // captured and not acknowledged
	at      uint64       // when the capture began
}

func newCrashModel() *crashModel {
	return &crashModel{volumes: map[string]*crashVolume{}, images: map[string]*crashImage{}}
}

// fork returns a model that changes by itself from now on.
func (m *crashModel) fork() *crashModel {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newCrashModel()
	c.clock = m.clock
	for name, v := range m.volumes {
		copied := *v
		copied.content, copied.sectors, copied.was = bytes.Clone(v.content), maps.Clone(v.sectors), maps.Clone(v.was)
		for s, h := range copied.sectors {
			copied.sectors[s] = slices.Clone(h)
		}
		c.volumes[name] = &copied
	}
	for name, img := range m.images {
		copied := *img
		copied.content = bytes.Clone(img.content)
		if img.from != nil {
			copied.from = c.volumes[img.from.name]
		}
		c.images[name] = &copied
	}
	return c
}

func newCrashVolume(name string, content []byte) *crashVolume {
	return &crashVolume{name: name, content: content, sectors: map[int64]history{}, was: map[int64][]byte{}}
}

func sector(b []byte, at int64) *[SectorSize]byte {
	return (*[SectorSize]byte)(b[at*SectorSize:])
}

func (v *crashVolume) block(content []byte, n int64) []byte {
	return content[n<<blockShift : min(int64(len(content)), (n+1)<<blockShift)]
}

// begin is told of a change before it is made.
func (m *crashModel) begin(v *crashVolume, off int64, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := off + int64(len(data))
	for n := off >> blockShift; n<<blockShift < end; n++ {
		if v.was[n] == nil {
			v.was[n] = bytes.Clone(v.block(v.content, n))
		}
	}
	for s := off / SectorSize; s*SectorSize < end; s++ {
		if v.sectors[s] == nil {
			v.sectors[s] = history{{clonedSector(v.content, s), 0}}
		}
	}
	copy(v.content[off:], data)
	for s := off / SectorSize; s*SectorSize < end; s++ {
		v.sectors[s] = append(v.sectors[s], sectorState{clonedSector(v.content, s), never})
	}
}

func clonedSector(b []byte, at int64) *[SectorSize]byte {
	c := *sector(b, at)
	return &c
}

// ack is told that the change of a range was acknowledged; with fua it is
// flushed.
func (m *crashModel) ack(v *crashVolume, off, length int64, fua bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock++
	now := m.clock
	m.settleLocked(v, off, length, now)
	if !fua {
		return
	}
	m.promise(func() {
		for s := off / SectorSize; s*SectorSize < off+length; s++ {
			v.flushSector(s, now)
		}
	})
}

// settleLocked marks the last change of each sector of a range as acknowledged.
func (m *crashModel) settleLocked(v *crashVolume, off, length int64, now uint64) {
	end := off + length
	for n := off >> blockShift; n<<blockShift < end; n++ {
		delete(v.was, n)
	}
	for s := off / SectorSize; s*SectorSize < end; s++ {
		h := v.sectors[s]
		h[len(h)-1].acked = now
	}
}

func (v *crashVolume) flushSector(s int64, at uint64) {
	h, ok := v.sectors[s]
	if !ok {
		return
	}
	if h = h.flushed(at); len(h) == 1 {
		delete(v.sectors, s)
	} else {
		v.sectors[s] = h
	}
}

// promise does fn, if need be after the storm: a capture under way asks what
// was before it.
func (m *crashModel) promise(fn func()) {
	if m.storm > 0 {
		m.waiting = append(m.waiting, fn)
		return
	}
	fn()
}

// calm ends a storm.
func (m *crashModel) calm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.storm = 0
	for _, fn := range m.waiting {
		fn()
	}
	m.waiting = nil
}

// now is the time at which a flush or capture begins.
func (m *crashModel) now() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock++
	return m.clock
}

// flushed is told that a flush begun at the time at was acknowledged.
func (m *crashModel) flushed(v *crashVolume, at uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.promise(func() { v.flushedAt(at) })
}

func (v *crashVolume) flushedAt(at uint64) {
	for s := range v.sectors {
		v.flushSector(s, at)
	}
}

// capture makes the model of an image that was, or perhaps was, captured: each
// sector is as some time after at.
func (m *crashModel) capture(img *crashImage, v *crashVolume, at uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	img.content, img.either = bytes.Clone(v.content), map[int64]history{}
	for s, h := range v.sectors {
		if h = h.flushed(at); len(h) > 1 {
			img.either[s] = h
		}
	}
}

// grow makes a volume larger; what is added is zero.
func (v *crashVolume) grow(size int64) {
	v.content = append(v.content, make([]byte, size-int64(len(v.content)))...)
	v.larger = 0
}

// settle compares what a volume reads as with what it may be, and takes it for
// what it is from now on. uncertain says that a sync has failed, lost that something
// acknowledged is gone.
// With named, what is lost has to be in its ranges.
func (m *crashModel) settle(v *crashVolume, got []byte, uncertain bool, named *FailureInfo) (lost bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if int64(len(got)) == v.larger {
		v.grow(v.larger)
	}
	v.larger = 0
	if len(got) != len(v.content) {
		return false, fmt.Errorf("%s has %d bytes, not %d", v.name, len(got), len(v.content))
	}
	m.clock++
	for n := int64(0); n<<blockShift < int64(len(got)); n++ {
		is, want := v.block(got, n), v.block(v.content, n)
		if bytes.Equal(is, want) {
			continue
		}
		if was := v.was[n]; was == nil || !bytes.Equal(was, is[:len(was)]) || !isZero(is[len(was):]) {
			if !v.powerLoss && !uncertain {
				return false, fmt.Errorf("%s, block %d: %s", v.name, n, difference(is, want, was))
			}
			gone := false
			if err := v.settleBlock(n, is, want, &gone); err != nil {
				return lost, err
			}
			if gone && named != nil && !named.names(n<<blockShift) {
				return lost, fmt.Errorf("%s, block %d is lost, and the loss that was accepted does not name it: %v", v.name, n, named.Ranges)
			}
			lost = lost || gone
		}
		for s := n << 3; s*SectorSize < n<<blockShift+int64(len(is)); s++ {
			if h := v.sectors[s]; h != nil {
				v.sectors[s] = append(h, sectorState{clonedSector(got, s), m.clock})
			}
		}
	}
	for s, h := range v.sectors {
		h[len(h)-1].acked = m.clock
		v.sectors[s] = h
	}
	clear(v.was)
	if v.powerLoss {
		clear(v.sectors)
	}
	v.powerLoss = false
	copy(v.content, got)
	return lost, nil
}

// settleBlock checks a block that lost changes, sector by sector.
func (v *crashVolume) settleBlock(n int64, is, want []byte, lost *bool) error {
	for at := int64(0); at < int64(len(is)); at += SectorSize {
		s := n<<3 + at/SectorSize
		if bytes.Equal(is[at:at+SectorSize], want[at:at+SectorSize]) {
			continue
		}
		h := v.sectors[s]
		if !h.has(is[at : at+SectorSize]) {
			return fmt.Errorf("%s, block %d, sector %d: %s; it may hold %d contents", v.name, n, s, difference(is[at:at+SectorSize], want[at:at+SectorSize], nil), len(h))
		}
		// The newest acknowledged content or a later one is no loss.
		newest := 0
		for i, ver := range h {
			if ver.acked != never {
				newest = i
			}
		}
		if !h[newest:].has(is[at : at+SectorSize]) {
			*lost = true
		}
	}
	return nil
}

// settleImage compares an image with what it may be.
func (m *crashModel) settleImage(img *crashImage, got []byte) error {
	if len(got) != len(img.content) {
		return fmt.Errorf("%s has %d bytes, not %d", img.name, len(got), len(img.content))
	}
	for at := int64(0); at < int64(len(got)); at += SectorSize {
		is, want := got[at:at+SectorSize], img.content[at:at+SectorSize]
		if !bytes.Equal(is, want) && !img.either[at/SectorSize].has(is) {
			return fmt.Errorf("image %s, block %d, sector %d: %s", img.name, at>>blockShift, at/SectorSize, difference(is, want, nil))
		}
	}
	copy(img.content, got)
	img.either = nil
	return nil
}

// difference describes the first bytes that differ. Contents are made so that
// the first 8 bytes of a sector tell where they come from.
func difference(got, want, was []byte) string {
	for i := range got {
		if got[i] == want[i] {
			continue
		}
		i &^= 7
		s := fmt.Sprintf("at +%d it holds %x, not %x", i, got[i:min(i+8, len(got))], want[i:min(i+8, len(want))])
		if was != nil && i < len(was) {
			s += fmt.Sprintf(" or, before, %x", was[i:min(i+8, len(was))])
		}
		return s
	}
	return "no difference"
}
