package blockstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
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
}

// lineageRecord is the l record of a lineage.
type lineageRecord struct {
	Parent        uint64  `json:"parent,omitempty"`
	ParentVersion uint32  `json:"parentVersion,omitempty"`
	Sizes         []int64 `json:"sizes"` // of versions 1, 2, … tip, in bytes
	State         string  `json:"state"`
}

// State of a lineage. A lineage that is live but has no name is damage: it is
// reported and kept. One that is importing when the store opens was cut short
// and becomes doomed.
const (
	lineageLive      = "live"
	lineageImporting = "importing"
	lineageDoomed    = "doomed" // its tip has no owner any more
)

// requestRecord is the r record: what a request id made.
type requestRecord struct {
	Kind string          `json:"kind"` // "image", "volume", "delete-image", "delete-volume"
	Name string          `json:"name"`
	Info json.RawMessage `json:"info,omitempty"`
}

// lineage in memory. Fields but id and parent are guarded by catalogue.mu.
type lineage struct {
	id     uint64
	parent *lineage
	rec    lineageRecord

	branches map[uint32]int // children, names and users of each version
}

func (l *lineage) tip() uint32               { return uint32(len(l.rec.Sizes)) }
func (l *lineage) size(version uint32) int64 { return l.rec.Sizes[version-1] }
func (l *lineage) retain(v uint32)           { l.branches[v]++ }
func (l *lineage) newestRetained() (v uint32) { // 0: none
	for at, n := range l.branches {
		if n > 0 && at > v {
			v = at
		}
	}
	return v
}

func (l *lineage) unretain(v uint32) {
	if l.branches[v]--; l.branches[v] == 0 {
		delete(l.branches, v)
	}
}

type imageEntry struct {
	name    string
	rec     imageRecord
	lineage *lineage
	users   int // open handles and clones being made
}

type volumeEntry struct {
	name    string
	rec     volumeRecord
	lineage *lineage
	users   int // open handles and operations; guarded by catalogue.mu

	mu   sync.Mutex // opening, closing, growing, sealing
	open *volume    // nil unless users have it open
	refs int        // of open
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
		lineages map[uint64]*lineage
		reserved map[string]bool // names being made or deleted: "i…", "v…", "r…"
	}
}

func loadCatalogue(s *Store) (*catalogue, error) {
	c := &catalogue{s: s}
	c.mu.images = map[string]*imageEntry{}
	c.mu.volumes = map[string]*volumeEntry{}
	c.mu.lineages = map[uint64]*lineage{}
	c.mu.reserved = map[string]bool{}
	if err := c.loadLineages(); err != nil {
		return nil, err
	}
	err := scanJSON(s, prefixImage, func(name string, rec imageRecord) error {
		l := c.mu.lineages[rec.Lineage]
		if l == nil || rec.Version == 0 || rec.Version > l.tip() {
			return errf(ErrCorrupt, "image %q names layer %s, which does not exist: restore the store from a backup", name, layerDir(layerID{rec.Lineage, rec.Version}))
		}
		l.retain(rec.Version)
		c.mu.images[name] = &imageEntry{name: name, rec: rec, lineage: l}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = scanJSON(s, prefixVolume, func(name string, rec volumeRecord) error {
		l := c.mu.lineages[rec.Lineage]
		if l == nil || l.rec.State != lineageLive {
			return errf(ErrCorrupt, "volume %q names lineage %016x, which does not exist: restore the store from a backup", name, rec.Lineage)
		}
		c.mu.volumes[name] = &volumeEntry{name: name, rec: rec, lineage: l}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.reportNameless()
	return c, nil
}

func (c *catalogue) loadLineages() error {
	err := scanJSON(c.s, prefixLineage, func(key string, rec lineageRecord) error {
		if len(key) != 8 || len(rec.Sizes) == 0 {
			return errf(ErrCorrupt, "lineage record %x is damaged: restore the store from a backup", key)
		}
		if rec.State == lineageImporting {
			rec.State = lineageDoomed
		}
		id := binary.BigEndian.Uint64([]byte(key))
		c.mu.lineages[id] = &lineage{id: id, rec: rec, branches: map[uint32]int{}}
		return nil
	})
	for _, l := range c.mu.lineages {
		if l.rec.Parent == 0 || err != nil {
			continue
		}
		if l.parent = c.mu.lineages[l.rec.Parent]; l.parent == nil || l.rec.ParentVersion == 0 || l.rec.ParentVersion > l.parent.tip() {
			return errf(ErrCorrupt, "lineage %016x has lost its parent %016x: restore the store from a backup", l.id, l.rec.Parent)
		}
		l.parent.retain(l.rec.ParentVersion)
	}
	return err
}

// reportNameless tells of lineages that nothing names. Their data is kept.
func (c *catalogue) reportNameless() {
	named := map[*lineage]bool{}
	for _, v := range c.mu.volumes {
		named[v.lineage] = true
	}
	for _, l := range c.mu.lineages {
		if l.rec.State == lineageLive && !named[l] && len(l.branches) == 0 {
			c.s.o.Logger.Warn("lineage without a name: kept, please report", "lineage", fmt.Sprintf("%016x", l.id))
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
		if err := json.Unmarshal(it.Value(), &rec); err != nil {
			return errf(ErrCorrupt, "metadata record %q is damaged: %v", it.Key(), err)
		}
		if err := fn(string(it.Key()[1:]), rec); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return errf(ErrCorrupt, "metadata in %s is damaged: %v", s.metaDir(), err)
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

// addLineage makes a lineage in memory with a fresh id, retaining its parent.
// The caller holds mu.
func (c *catalogue) addLineageLocked(parent *lineage, version uint32, size int64, state string) *lineage {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:])
		id := binary.LittleEndian.Uint64(b[:])
		if id == 0 || id == ^uint64(0) || c.mu.lineages[id] != nil {
			continue
		}
		l := &lineage{id: id, parent: parent, branches: map[uint32]int{}, rec: lineageRecord{Sizes: []int64{size}, State: state}}
		if parent != nil {
			l.rec.Parent, l.rec.ParentVersion = parent.id, version
			parent.retain(version)
		}
		c.mu.lineages[id] = l
		return l
	}
}

// dropLineageLocked takes out a lineage that was never committed or is gone.
func (c *catalogue) dropLineageLocked(l *lineage) {
	delete(c.mu.lineages, l.id)
	if l.parent != nil {
		l.parent.unretain(l.rec.ParentVersion)
	}
}

// reserve begins an operation that makes or deletes a name ("i…", "v…") and
// keeps others from it until end is called; Close waits for that too. done
// tells that the request was done before; info has its result then.
func (s *Store) reserve(kind, name, requestID string, info any) (end func(), done bool, err error) {
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
	if id == "" {
		return false, nil
	}
	var rec requestRecord
	found, err := c.s.getJSON(nameKey(prefixRequest, id), &rec)
	if !found || err != nil {
		return false, err
	}
	if rec.Kind != kind || rec.Name != name {
		return false, errf(ErrExists, "request id %q was used before for %s %q: use a new id", id, rec.Kind, rec.Name)
	}
	if info == nil {
		return true, nil
	}
	return true, json.Unmarshal(rec.Info, info)
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
// commits in the background, and names all handles that are open.
func (c *catalogue) settle() (open []string, err error) {
	c.mu.Lock()
	var volumes []*volumeEntry
	for name, e := range c.mu.volumes {
		if e.users > 0 {
			open, volumes = append(open, "volume "+name), append(volumes, e)
		}
	}
	for name, i := range c.mu.images {
		if i.users > 0 {
			open = append(open, "image "+name)
		}
	}
	c.mu.Unlock()
	slices.Sort(open)
	for _, e := range volumes {
		e.mu.Lock()
		if e.open != nil {
			err = errors.Join(err, e.open.settle())
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
		ContentID: e.rec.ContentID, SHA256: e.rec.SHA256, Format: e.rec.Format,
		Allocated: e.rec.Allocated, Owner: e.rec.Owner,
		Clones: e.lineage.branches[e.rec.Version] - 1 - e.users,
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
func (s *Store) Volume(_ context.Context, name string) (VolumeInfo, error) {
	s.cat.mu.Lock()
	e, err := s.cat.volumeLocked(name)
	s.cat.mu.Unlock()
	if err != nil {
		return VolumeInfo{}, err
	}
	return s.volumeInfo(e)
}

func (s *Store) volumeInfo(e *volumeEntry) (VolumeInfo, error) {
	s.cat.mu.Lock()
	info := e.infoLocked()
	tip := layerID{e.lineage.id, e.lineage.tip()}
	s.cat.mu.Unlock()
	var err error
	info.Allocated, err = s.layer(tip).allocated()
	return info, err
}

func (e *volumeEntry) infoLocked() VolumeInfo {
	return VolumeInfo{
		Name: e.name, ID: e.rec.ID, Size: e.lineage.size(e.lineage.tip()), Created: e.rec.Created,
		Image: e.rec.Image, ImageID: e.rec.ImageID, Owner: e.rec.Owner, Epoch: e.rec.Epoch, Open: e.users,
	}
}
