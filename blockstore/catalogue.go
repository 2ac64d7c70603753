package blockstore

import (
	"cmp"
	"context"
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

func loadCatalogue(s *Store) (*catalogue, error) {
	c := &catalogue{s: s}
	c.mu.images = map[string]*imageEntry{}
	c.mu.volumes = map[string]*volumeEntry{}
	c.mu.retired = map[string]*volumeEntry{}
	c.mu.moving = map[string]*volumeEntry{}
	c.mu.lineages = map[uint64]*lineage{}
	c.mu.readers = map[*Disk]string{}
	c.mu.doomed = map[*lineage]bool{}
	c.mu.failures = map[uint64]*failure{}
	c.mu.reserved = map[string]bool{}
	for _, load := range []func() error{c.loadLineages, c.loadVersions, c.loadParents, c.loadImages, c.loadVolumes, c.loadRetired, c.loadSnapshots, c.loadFailures, c.loadMarks} {
		if err := load(); err != nil {
			return nil, err
		}
	}
	c.reportUnheld()
	return c, nil
}

const restoreBackup = "restore the store from a backup"

func (c *catalogue) loadLineages() error {
	return scanJSON(c.s, prefixLineage, func(key string, rec lineageRecord) error {
		if len(key) != 8 {
			return errf(ErrCorrupt, "lineage record %x is damaged: %s", key, restoreBackup)
		}
		l := newLineage(binary.BigEndian.Uint64([]byte(key)))
		l.rec = rec
		c.mu.lineages[l.id] = l
		return nil
	})
}

func (c *catalogue) loadVersions() error {
	err := scanJSON(c.s, prefixVersion, func(key string, rec versionRecord) error {
		if len(key) != 12 {
			return errf(ErrCorrupt, "version record %x is damaged: %s", key, restoreBackup)
		}
		id := layerID{binary.BigEndian.Uint64([]byte(key)), binary.BigEndian.Uint32([]byte(key[8:]))}
		l := c.mu.lineages[id.lineage]
		if l == nil {
			return errf(ErrCorrupt, "version %s has lost its lineage: %s", layerDir(id), restoreBackup)
		}
		if l.rec.State == lineageImporting {
			rec.State = versionDoomed
		}
		l.add(id.version, rec)
		return nil
	})
	for _, l := range c.mu.lineages {
		if l.hasDoomed() {
			c.mu.doomed[l] = true
		}
		if err == nil && len(l.versions) == 0 {
			if lost := errf(ErrCorrupt, "lineage %016x has lost its versions: %s", l.id, restoreBackup); c.s.tolerate(lost) {
				delete(c.mu.lineages, l.id)
			} else {
				err = lost
			}
		}
	}
	return err
}

func (c *catalogue) loadParents() error {
	if c.s.o.ReadOnly {
		c.dropOrphans()
	}
	for _, l := range c.mu.lineages {
		if l.rec.Parent == 0 {
			continue
		}
		v, err := c.versionAt(layerID{l.rec.Parent, l.rec.ParentVersion})
		if err != nil {
			return errf(ErrCorrupt, "lineage %016x has lost its parent: %v", l.id, err)
		}
		l.parent = c.mu.lineages[l.rec.Parent]
		v.children++
	}
	return nil
}

// versionAt finds a version that a record names.
func (c *catalogue) versionAt(id layerID) (*version, error) {
	if l := c.mu.lineages[id.lineage]; l != nil {
		if v := l.at(id.version); v != nil {
			return v, nil
		}
	}
	return nil, errf(ErrCorrupt, "layer %s does not exist: %s", layerDir(id), restoreBackup)
}

func (c *catalogue) loadImages() error {
	return scanJSON(c.s, prefixImage, func(name string, rec imageRecord) error {
		v, err := c.versionAt(layerID{rec.Lineage, rec.Version})
		if err != nil {
			return errf(ErrCorrupt, "image %q: %v", name, err)
		}
		v.names++
		if v.digests, err = c.s.loadDigests(layerID{rec.Lineage, rec.Version}); err != nil {
			return errf(ErrCorrupt, "image %q: %v", name, err)
		}
		c.mu.images[name] = &imageEntry{name: name, rec: rec, lineage: c.mu.lineages[rec.Lineage], version: v}
		return nil
	})
}

// newVolumeEntry makes the entry of a volume; its lineage is the volume's.
func newVolumeEntry(name string, rec volumeRecord, l *lineage) *volumeEntry {
	l.writable = true
	return &volumeEntry{name: name, rec: rec, lineage: l, snapshots: map[string]*snapshotEntry{}}
}

func (c *catalogue) loadVolumes() error {
	return scanJSON(c.s, prefixVolume, func(name string, rec volumeRecord) error {
		e, err := c.loadVolume(name, rec)
		if err == nil {
			c.mu.volumes[name] = e
		}
		return err
	})
}

func (c *catalogue) loadVolume(name string, rec volumeRecord) (*volumeEntry, error) {
	l := c.mu.lineages[rec.Lineage]
	if l == nil || l.rec.State != lineageLive || l.writable {
		return nil, errf(ErrCorrupt, "volume %q names lineage %016x, which does not exist or is another's: %s", name, rec.Lineage, restoreBackup)
	}
	return newVolumeEntry(name, rec, l), nil
}

// reportUnheld tells of versions that nothing names and nobody gave up. Their
// data is kept.
func (c *catalogue) reportUnheld() {
	for _, l := range c.mu.lineages {
		for _, v := range l.versions {
			if v.rec.State == versionLive && !v.held() && !(l.writable && v == l.tip()) {
				c.s.o.Logger.Warn("layer without a name: kept, please report", "layer", layerDir(layerID{l.id, v.number}))
			}
		}
	}
}

// scanJSON calls fn with every record of a prefix.
func scanJSON[T any](s *Store, prefix byte, fn func(key string, rec T) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		var rec T
		err := json.Unmarshal(it.Value(), &rec)
		if err != nil {
			err = errf(ErrCorrupt, "metadata record %q is damaged: %v", it.Key(), err)
		} else {
			err = fn(string(it.Key()[1:]), rec)
		}
		if err != nil && !s.tolerate(err) {
			return err
		}
	}
	if err := it.Error(); err != nil {
		if err = errf(ErrCorrupt, "metadata in %s is damaged: %v", s.metaDir(), err); !s.tolerate(err) {
			return err
		}
	}
	return nil
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

// Images lists the golden images by name.
func (s *Store) Images(context.Context) ([]ImageInfo, error) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	list := make([]ImageInfo, 0, len(s.cat.mu.images))
	for _, e := range s.cat.mu.images {
		list = append(list, e.info())
	}
	slices.SortFunc(list, func(a, b ImageInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Image describes one golden image. Error: ErrNotFound.
func (s *Store) Image(_ context.Context, name string) (ImageInfo, error) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	e, err := s.cat.imageLocked(name)
	if err != nil {
		return ImageInfo{}, err
	}
	return e.info(), nil
}

// info describes the image; catalogue.mu is held.
func (e *imageEntry) info() ImageInfo {
	return ImageInfo{
		Name: e.name, ID: e.rec.ID, Size: e.rec.Size, Created: e.rec.Created,
		ContentID: cmp.Or(e.rec.ContentID, e.version.digests.content), SHA256: cmp.Or(e.rec.SHA256, e.version.digests.raw), Format: e.rec.Format,
		Allocated: e.rec.Allocated, Owner: e.rec.Owner,
		Clones: e.version.children,
	}
}

// Volumes lists the OS volumes by name.
func (s *Store) Volumes(context.Context) ([]VolumeInfo, error) {
	s.cat.mu.Lock()
	entries := make([]*volumeEntry, 0, len(s.cat.mu.volumes))
	for _, e := range s.cat.mu.volumes {
		entries = append(entries, e)
	}
	s.cat.mu.Unlock()
	slices.SortFunc(entries, func(a, b *volumeEntry) int { return strings.Compare(a.name, b.name) })
	list := make([]VolumeInfo, 0, len(entries))
	for _, e := range entries {
		info, err := s.volumeInfo(e)
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}

// Volume describes one OS volume. Error: ErrNotFound.
func (s *Store) Volume(ctx context.Context, name string) (VolumeInfo, error) {
	s.cat.mu.Lock()
	e, err := s.cat.volumeLocked(name)
	s.cat.mu.Unlock()
	if err != nil {
		return VolumeInfo{}, err
	}
	info, err := s.volumeInfo(e)
	if err == nil && info.Failure != nil {
		err = s.nameRanges(ctx, &info, e)
	}
	return info, err
}

func (s *Store) volumeInfo(e *volumeEntry) (VolumeInfo, error) {
	s.cat.mu.Lock()
	info := e.infoLocked()
	tip := e.tipLocked()
	info.Failure = s.cat.mu.failures[tip.lineage].info()
	s.cat.mu.Unlock()
	var err error
	info.Allocated, err = s.layer(tip).allocated()
	return info, err
}

// tipLocked is the layer that the volume writes to.
func (e *volumeEntry) tipLocked() layerID { return layerID{e.lineage.id, e.lineage.tip().number} }

func (e *volumeEntry) infoLocked() VolumeInfo {
	return VolumeInfo{
		Name: e.name, ID: e.rec.ID, Size: e.lineage.tip().rec.Size, Created: e.rec.Created,
		Image: e.rec.Image, ImageID: e.rec.ImageID, Owner: e.rec.Owner, Epoch: e.rec.Epoch, EpochSince: e.rec.EpochSince, EpochCause: e.rec.EpochCause, OldAccepted: e.rec.OldAccepted, Quota: e.rec.Quota, Open: e.users,
		Snapshots: len(e.snapshots),
	}
}
