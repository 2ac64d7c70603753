package netboot

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Stages of a boot, in their usual order; those of the helper are in package
// initramfs.
const (
	StageScript = "script" // the server got its script
	StageKernel = "kernel" // it has the whole kernel
	StageInitrd = "initrd" // it has the whole initrd
)

// Stage is a step of a boot.
type Stage struct {
	Name string    `json:"name"`
	Time time.Time `json:"time"`
}

// Boot is one start of a server.
type Boot struct {
	Record  string     `json:"record"`
	Volume  string     `json:"volume"`
	Mode    string     `json:"mode,omitempty"`
	From    netip.Addr `json:"from"`
	Claim   Identity   `json:"claim"`
	Stages  []Stage    `json:"stages"`
	Changed bool       `json:"changed,omitempty"` // the volume was written where its boot files came from
	Problem string     `json:"problem,omitempty"`
}

// Stranger is a server that asked and is not known.
type Stranger struct {
	Identity
	From  netip.Addr `json:"from"`
	First time.Time  `json:"first"`
	Last  time.Time  `json:"last"`
	Times int        `json:"times"`
}

const (
	// bootLife is how long files of a boot are given, and stages taken.
	bootLife = 30 * time.Minute
	// mostBoots and mostStrangers bound what is kept: the oldest go. Of one record
	// there are mostOwn, so that who asks often pushes nobody else out.
	mostBoots     = 20000
	mostOwn       = 4
	mostStrangers = 1000
	mostStages    = 16
)

// boots are the boots of late, and the last one of each record.
type boots struct {
	now func() time.Time
	mu  struct {
		sync.Mutex
		byID      map[string]*boot
		order     []string            // of byID, the oldest first
		own       map[string][]string // those of a record, the oldest first
		last      map[string]*boot
		strangers map[Identity]*Stranger
		asked     map[string]time.Time // by DHCP, by MAC address, and not come since
	}
}

type boot struct {
	Boot
	began time.Time
}

func newBoots(now func() time.Time) *boots {
	b := &boots{now: now}
	b.mu.byID, b.mu.last, b.mu.strangers = map[string]*boot{}, map[string]*boot{}, map[Identity]*Stranger{}
	b.mu.own, b.mu.asked = map[string][]string{}, map[string]time.Time{}
	return b
}

// begin starts a boot; its id is a secret of the server that it is for.
func (b *boots) begin(one Boot) (id string) {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	id = hex.EncodeToString(raw[:])
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.mu.order) > 0 && (len(b.mu.order) >= mostBoots || now.Sub(b.mu.byID[b.mu.order[0]].began) > bootLife) {
		b.drop(b.mu.order[0])
	}
	if own := b.mu.own[one.Record]; len(own) >= mostOwn {
		b.drop(own[0])
	}
	one.Stages = b.beginningLocked(one.Claim.MAC, now)
	kept := &boot{one, now}
	b.mu.byID[id], b.mu.last[one.Record] = kept, kept
	b.mu.order = append(b.mu.order, id)
	b.mu.own[one.Record] = append(b.mu.own[one.Record], id)
	return id
}

// drop forgets a boot; the caller has the lock.
func (b *boots) drop(id string) {
	record := b.mu.byID[id].Record
	delete(b.mu.byID, id)
	i := slices.Index(b.mu.order, id)
	b.mu.order = slices.Delete(b.mu.order, i, i+1)
	own := b.mu.own[record]
	i = slices.Index(own, id)
	if b.mu.own[record] = slices.Delete(own, i, i+1); len(own) == 1 {
		delete(b.mu.own, record)
	}
}

// get returns a boot that is young enough.
func (b *boots) get(id string) (Boot, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one, ok := b.mu.byID[id]
	if !ok || b.now().Sub(one.began) > bootLife {
		return Boot{}, false
	}
	return one.Boot, true
}

// stage notes one, and tells how long after the script it was; false: there is no
// such boot, or it had the stage before.
func (b *boots) stage(id, name string) (after time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.mu.byID[id]
	if one == nil || len(one.Stages) >= mostStages || slices.ContainsFunc(one.Stages, func(s Stage) bool { return s.Name == name }) {
		return 0, false
	}
	now := b.now()
	one.Stages = append(slices.Clone(one.Stages), Stage{name, now})
	return now.Sub(one.began), true
}

// problem notes why a record's server did not get far.
func (b *boots) problem(one Boot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one.Stages = b.beginningLocked(one.Claim.MAC, b.now())
	b.mu.last[one.Record] = &boot{one, b.now()}
}

// stranger notes a server that is not known; true: for the first time.
func (b *boots) stranger(id Identity, from netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	delete(b.mu.asked, id.MAC)
	if s := b.mu.strangers[id]; s != nil {
		s.Last, s.From, s.Times = now, from, s.Times+1
		return false
	}
	if len(b.mu.strangers) >= mostStrangers {
		oldest := slices.MinFunc(slices.Collect(maps.Values(b.mu.strangers)), func(a, b *Stranger) int { return a.Last.Compare(b.Last) })
		delete(b.mu.strangers, oldest.Identity)
	}
	b.mu.strangers[id] = &Stranger{Identity: id, From: from, First: now, Last: now, Times: 1}
	return true
}

// known forgets a stranger that has a record now.
func (b *boots) known(id Identity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.mu.strangers, id)
}

// Last is the last boot of a record that was seen since the start.
func (h *Handler) Last(record string) (Boot, bool) {
	h.boots.mu.Lock()
	defer h.boots.mu.Unlock()
	if one := h.boots.mu.last[record]; one != nil {
		return one.Boot, true
	}
	return Boot{}, false
}

// Forget forgets the boots of a record that is no more: its server gets no file of
// them from now on.
func (h *Handler) Forget(record string) {
	b := h.boots
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.mu.last, record)
	for len(b.mu.own[record]) > 0 {
		b.drop(b.mu.own[record][0])
	}
}

// Strangers are the servers that asked and are not known, the last one first.
func (h *Handler) Strangers() []Stranger {
	h.boots.mu.Lock()
	defer h.boots.mu.Unlock()
	list := []Stranger{}
	for _, s := range h.boots.mu.strangers {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b Stranger) int { return b.Last.Compare(a.Last) })
	return list
}
