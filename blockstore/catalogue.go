package blockstore

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// imageRecord is the i record of a golden image.
type imageRecord struct {
	ID        string    `json:"id"`
	Lineage   uint64    `json:"lineage"`
	Version   uint32    `json:"version"`
	Size      int64     `json:"size"`
	Created   time.Time `json:"created"`
	ContentID string    `json:"contentId,omitempty"`
	SHA256    string    `json:"sha256,omitempty"`
	Format    string    `json:"format,omitempty"`
	Allocated int64     `json:"allocated"`
	Owner     string    `json:"owner,omitempty"`
}

// volumeRecord is the v record of an OS volume. Its size is its lineage's.
type volumeRecord struct {
	ID      string    `json:"id"`
	Lineage uint64    `json:"lineage"`
	Created time.Time `json:"created"`
	Image   string    `json:"image,omitempty"`
	ImageID string    `json:"imageId,omitempty"`
	Owner   string    `json:"owner,omitempty"`
	Epoch   uint64    `json:"epoch"`
	// EpochSince and EpochCause tell of the beginning of the epoch (epoch.go),
	// EpochMark for which open mark it began; OldAccepted lets clients of
	// older ones on.
	EpochSince  time.Time `json:"epochSince,omitzero"`
	EpochCause  string    `json:"epochCause,omitempty"`
	EpochMark   time.Time `json:"epochMark,omitzero"`
	OldAccepted bool      `json:"oldAccepted,omitempty"`
	Quota       int64     `json:"quota,omitempty"` // bytes, 0: none
}

// lineageRecord is the l record of a lineage.
type lineageRecord struct {
	Parent        uint64 `json:"parent,omitempty"`
	ParentVersion uint32 `json:"parentVersion,omitempty"`
	State         string `json:"state"`
}

// State of a lineage. One that is importing when the store opens was cut short:
// its version is doomed.
const (
	lineageLive      = "live"
	lineageImporting = "importing"
)

// requestRecord is the r record: what a request id made.
type requestRecord struct {
	Kind string          `json:"kind"` // "image", "volume", "delete-volume" …
	Name string          `json:"name"`
	Info json.RawMessage `json:"info,omitempty"`
}

type imageEntry struct {
	name    string
	rec     imageRecord
	lineage *lineage
	version *version
}

type volumeEntry struct {
	name      string
	rec       volumeRecord
	lineage   *lineage                  // a rollback puts another one in its place
	snapshots map[string]*snapshotEntry // by name
	retired   retirement                // zero for volumes in use
	users     int                       // open handles and operations
	exclusive bool                      // one operation wants no other users; all guarded by catalogue.mu

	mu   sync.Mutex             // opening, closing, growing, sealing
	open *volume                // nil unless users have it open
	now  atomic.Pointer[volume] // the same, for statistics, which take no lock
	refs int                    // of open
}

// catalogue holds all names and lineages in memory; Pebble holds their truth.
// A name operation checks and reserves under mu and commits outside of it.
type catalogue struct {
	s  *Store
	mu struct {
		sync.Mutex
		shut     bool
		images   map[string]*imageEntry
		volumes  map[string]*volumeEntry
		retired  map[string]*volumeEntry // by ID
		moving   map[string]*volumeEntry // by ID: to or from the retired ones, or about to go
		lineages map[uint64]*lineage
		readers  map[*Disk]string    // open handles on sealed versions
		doomed   map[*lineage]bool   // that may have something to free
		failures map[uint64]*failure // of lineages whose top failed (failure.go)
		reserved map[string]bool     // names being made or deleted: "i…", "v…", "r…"
	}
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9 ._+@=:,()-]{0,126}[A-Za-z0-9._+@=:,()-])?$`)

// checkName refuses names that would be trouble in paths, URIs and scripts.
func checkName(kind, name string) error {
	if !nameForm.MatchString(name) {
		return errf(ErrInvalid, "%q is no name for %s: use 1 to 128 letters, digits, spaces and . _ + @ = : , ( ) -, beginning with a letter or digit", name, kind)
	}
	return nil
}

// CheckName refuses, with ErrInvalid, what cannot be the name of a disk; kind
// says of which, for the message.
func CheckName(kind, name string) error { return checkName(kind, name) }

// CheckSize refuses, with ErrInvalid, what cannot be the size of a disk.
func CheckSize(size int64) error { return checkSize(size) }

// checkSize refuses sizes that no disk has.
func checkSize(size int64) error {
	if size <= 0 || size%SectorSize != 0 || size > MaxSize {
		return errf(ErrInvalid, "%d bytes is no size of a disk: it must be a multiple of %d, more than 0 and at most %d (1 PiB)", size, SectorSize, int64(MaxSize))
	}
	return nil
}

// newID returns 128 random bits; ids are never used twice.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24)
	return hex.EncodeToString(b[:])
}

// addLineageLocked makes a lineage in memory with a fresh id and a first
// version, holding its parent.
func (c *catalogue) addLineageLocked(parent *lineage, at *version, size int64, state string) *lineage {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:])
		id := binary.LittleEndian.Uint64(b[:])
		if id == 0 || id == ^uint64(0) || c.mu.lineages[id] != nil {
			continue
		}
		l := newLineage(id)
		l.rec.State, l.parent = state, parent
		if parent != nil {
			l.rec.Parent, l.rec.ParentVersion = parent.id, at.number
			at.children++
		}
		l.add(1, versionRecord{Size: size})
		c.mu.lineages[id] = l
		return l
	}
}

// dropLineageLocked takes out a lineage that was never committed or is gone.
func (c *catalogue) dropLineageLocked(l *lineage) {
	delete(c.mu.lineages, l.id)
	if l.parent != nil {
		l.parent.at(l.rec.ParentVersion).children--
	}
}

// putLineage adds the records of a new lineage to a batch.
func putLineage(b *pebble.Batch, l *lineage) {
	putJSON(b, lineageKey(prefixLineage, l.id), l.rec)
	putJSON(b, entryKey(layerID{l.id, 1}), l.versions[0].rec)
}

// reserve begins an operation that makes or deletes a name ("i…", "v…") and
// keeps others from it until end is called; Close waits for that too. done
// tells that the request was done before; info has its result then.
func (s *Store) reserve(kind, name, requestID string, info any) (end func(), done bool, err error) {
	if s.o.ReadOnly {
		return nil, false, s.usable()
	}
	c := s.cat
	names := []string{name}
	if requestID != "" {
		names = append(names, "r"+requestID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.shut {
		return nil, false, errf(ErrClosed, "the store is closed")
	}
	if err := c.reserveLocked(names...); err != nil {
		return nil, false, err
	}
	if done, err = c.repeated(requestID, kind, name[1:], info); done || err != nil {
		c.unreserveLocked(names...)
		return nil, done, err
	}
	s.ops.Add(1)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.unreserveLocked(names...)
		s.ops.Done()
	}, false, nil
}

// reserveLocked takes names for an operation, all or none.
func (c *catalogue) reserveLocked(names ...string) error {
	for _, n := range names {
		if c.mu.reserved[n] {
			return errf(ErrInUse, "%q is being made or deleted by another request: try again", n[1:])
		}
	}
	for _, n := range names {
		c.mu.reserved[n] = true
	}
	return nil
}

func (c *catalogue) unreserveLocked(names ...string) {
	for _, n := range names {
		delete(c.mu.reserved, n)
	}
}

// repeated returns the result of a request that was done before. An id that
// was used for something else is refused.
func (c *catalogue) repeated(id, kind, name string, info any) (bool, error) {
	var rec requestRecord
	found, err := c.request(id, kind, &rec)
	if !found || err != nil {
		return false, err
	}
	if rec.Name != name {
		return false, usedBefore(id, rec)
	}
	if info == nil {
		return true, nil
	}
	return true, json.Unmarshal(rec.Info, info)
}

// request finds what a request of a kind was done for before.
func (c *catalogue) request(id, kind string, rec *requestRecord) (found bool, err error) {
	if id == "" {
		return false, nil
	}
	found, err = c.s.getJSON(nameKey(prefixRequest, id), rec)
	if found && rec.Kind != kind {
		return false, usedBefore(id, *rec)
	}
	return found, err
}

func usedBefore(id string, rec requestRecord) error {
	return errf(ErrExists, "request id %q was used before for %s %q: use a new id", id, rec.Kind, rec.Name)
}

func putRequest(b *pebble.Batch, id, kind, name string, info any) {
	if id == "" {
		return
	}
	raw, _ := json.Marshal(info)
	putJSON(b, nameKey(prefixRequest, id), requestRecord{Kind: kind, Name: name, Info: raw})
}

func (c *catalogue) imageLocked(name string) (*imageEntry, error) {
	if e := c.mu.images[name]; e != nil {
		return e, nil
	}
	return nil, errf(ErrNotFound, "there is no golden image %q%s", name, didYouMean(name, c.mu.images))
}

func (c *catalogue) volumeLocked(name string) (*volumeEntry, error) {
	if e := c.mu.volumes[name]; e != nil {
		return e, nil
	}
	return nil, errf(ErrNotFound, "there is no volume %q%s", name, didYouMean(name, c.mu.volumes))
}

// didYouMean names what exists and looks alike.
func didYouMean[T any](name string, known map[string]T) string {
	var near []string
	for k := range known {
		if strings.EqualFold(k, name) || strings.HasPrefix(k, name) || strings.HasPrefix(name, k) {
			near = append(near, fmt.Sprintf("%q", k))
		}
	}
	if len(near) == 0 || len(near) > 5 {
		return ""
	}
	slices.Sort(near)
	return "; did you mean " + strings.Join(near, " or ") + "?"
}

// shut refuses further operations.
func (c *catalogue) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.shut = true
}

// settle commits what volumes that are still open have written, ends their
// commits in the background, and names all handles that are open. A volume that
// failed may be open without any.
func (c *catalogue) settle() (open []string, err error) {
	c.mu.Lock()
	var volumes []*volumeEntry
	for name, e := range c.mu.volumes {
		volumes = append(volumes, e)
		if e.users > 0 {
			open = append(open, "volume "+name)
		}
	}
	volumes = slices.AppendSeq(volumes, maps.Values(c.mu.retired)) // one that failed is open for good
	for _, called := range c.mu.readers {
		open = append(open, called)
	}
	c.mu.Unlock()
	slices.Sort(open)
	for _, e := range volumes {
		e.mu.Lock()
		if e.open != nil {
			failed := e.open.settle()
			if e.refs > 0 { // else who closed it last was told
				err = errors.Join(err, failed)
			}
		}
		e.mu.Unlock()
	}
	return open, err
}
