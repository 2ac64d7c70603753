package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"goldstream/netboot"
)

// A bootRecord says which server boots from a volume. It stands in a file of its
// own, DATA/boot/servers/VOLUME-ID.json (0600: it has a secret):
//
//	volume    the volume's name when the record was made
//	volumeId  the volume; another one of the same name is not meant
//	macs      MAC addresses of the server's NICs
//	uuid      its UUID
//	serial    its serial number
//	options   of the kernel, behind those of the volume's boot loader
//	allow     address ranges that may ask for the boot; none means all
//	mode      of the next boot alone: rescue, local, or none
//	files     the directory below DATA/boot/files that has the boot files
//	digest    of what the volume held where the boot files came from
//	secret    the token by which the server opens the volume
//	tokenId   the token's id
//	created   when it was made
//
// Files come and go as those of tokens do.
type bootRecord struct {
	Volume   string         `json:"volume"`
	VolumeID string         `json:"volumeId"`
	MACs     []string       `json:"macs,omitempty"`
	UUID     string         `json:"uuid,omitempty"`
	Serial   string         `json:"serial,omitempty"`
	Options  string         `json:"options,omitempty"`
	Allow    []netip.Prefix `json:"allow,omitempty"`
	Mode     string         `json:"mode,omitempty"`
	Files    string         `json:"files"`
	Digest   string         `json:"digest,omitempty"`
	Secret   string         `json:"secret"`
	TokenID  string         `json:"tokenId"`
	Created  time.Time      `json:"created"`
}

// key is by what a boot remembers its record: another record of the same volume, that
// of another server, has another token.
func (r *bootRecord) key() string { return r.VolumeID + "/" + r.TokenID }

// identities are all by which the server is found.
func (r *bootRecord) identities() (keys []string) {
	for _, m := range r.MACs {
		keys = append(keys, "mac "+m)
	}
	return append(keys, identityKeys(netboot.Identity{UUID: r.UUID, Serial: r.Serial})...)
}

func identityKeys(id netboot.Identity) (keys []string) {
	if id.MAC != "" {
		keys = append(keys, "mac "+id.MAC)
	}
	if id.UUID != "" {
		keys = append(keys, "uuid "+id.UUID)
	}
	if id.Serial != "" {
		keys = append(keys, "serial "+id.Serial)
	}
	return keys
}

// bootRecords are all records of a data directory.
type bootRecords struct {
	dir    string
	unread int // records that could not be read
	mu     struct {
		sync.Mutex
		byID  map[string]*bootRecord // by volume id; the records are never changed
		byKey map[string]*bootRecord // by each of their identities
	}
}

// openBootRecords reads the records. One that cannot be read boots nothing.
func openBootRecords(dir string, log *slog.Logger, readOnly bool) (*bootRecords, error) {
	s := &bootRecords{dir: dir}
	s.mu.byID, s.mu.byKey = map[string]*bootRecord{}, map[string]*bootRecord{}
	var err error
	s.unread, err = readRecords(dir, log, "the boot record of a server cannot be read: assign its volume again", readOnly, func(path string) error {
		r, err := readBootRecord(path)
		if err == nil {
			s.index(r)
		}
		return err
	})
	return s, err
}

func readBootRecord(path string) (*bootRecord, error) {
	p, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &bootRecord{}
	if err := json.Unmarshal(p, r); err != nil {
		return nil, err
	}
	if r.VolumeID == "" || filepath.Base(path) != r.VolumeID+tokenSuffix || r.Secret == "" {
		return nil, errors.New("volume id and file name do not fit, or there is no secret")
	}
	return r, checkBootKey(r.Files)
}

func (s *bootRecords) index(r *bootRecord) {
	s.mu.byID[r.VolumeID] = r
	for _, key := range r.identities() {
		s.mu.byKey[key] = r
	}
}

func (s *bootRecords) unindex(id string) {
	if old := s.mu.byID[id]; old != nil {
		delete(s.mu.byID, id)
		for _, key := range old.identities() {
			delete(s.mu.byKey, key)
		}
	}
}

// errTaken is an identity that another record has.
var errTaken = errors.New("the server has another volume")

// free tells whether no other volume's record has an identity of r.
func (s *bootRecords) free(r bootRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freeLocked(r)
}

func (s *bootRecords) freeLocked(r bootRecord) error {
	for _, key := range r.identities() {
		if other := s.mu.byKey[key]; other != nil && other.VolumeID != r.VolumeID {
			return fmt.Errorf("%s belongs to the server of volume %q: %w", key, other.Volume, errTaken)
		}
	}
	return nil
}

// put keeps a record, in the place of the volume's old one, which it returns if there
// was one. It is durable then.
func (s *bootRecords) put(r bootRecord) (old *bootRecord, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.freeLocked(r); err != nil {
		return nil, err
	}
	if err := s.write(r); err != nil {
		return nil, fmt.Errorf("cannot keep the boot record: %w", err)
	}
	old = s.mu.byID[r.VolumeID]
	s.unindex(r.VolumeID)
	s.index(&r)
	return old, nil
}

func (s *bootRecords) write(r bootRecord) error {
	p, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := makeDirs(s.dir); err != nil {
		return err
	}
	if err := replaceFile(s.path(r.VolumeID), p); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// makeDirs makes a directory of the second level below DATA, durably.
func makeDirs(dir string) error {
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := syncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

func (s *bootRecords) path(id string) string { return filepath.Join(s.dir, id+tokenSuffix) }

// update changes a record by f, unless that returns false; false: there is none.
func (s *bootRecords) update(id string, f func(*bootRecord) bool) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.mu.byID[id]
	if old == nil {
		return false, nil
	}
	r := *old
	if !f(&r) {
		return true, nil
	}
	if err := s.write(r); err != nil {
		return true, fmt.Errorf("cannot keep the boot record: %w", err)
	}
	s.unindex(id)
	s.index(&r)
	return true, nil
}

// remove forgets a record, unless its volume has another one by now.
func (s *bootRecords) remove(r bootRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.mu.byID[r.VolumeID]; now == nil || now.TokenID != r.TokenID {
		return nil
	}
	if err := os.Remove(s.path(r.VolumeID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.unindex(r.VolumeID)
	return syncDir(s.dir)
}

func (s *bootRecords) get(id string) (bootRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.mu.byID[id]; r != nil {
		return *r, true
	}
	return bootRecord{}, false
}

// keyed is the record of a key, if that is still the volume's.
func (s *bootRecords) keyed(key string) (bootRecord, error) {
	id, tokenID, _ := strings.Cut(key, "/")
	if r, ok := s.get(id); ok && r.TokenID == tokenID {
		return r, nil
	}
	return bootRecord{}, netboot.ErrUnknown
}

// list returns all, the oldest first.
func (s *bootRecords) list() (list []bootRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.mu.byID {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b bootRecord) int { return a.Created.Compare(b.Created) })
	return list
}

// find is the record of an identity. All that the server says of itself has to
// belong to one server.
func (s *bootRecords) find(id netboot.Identity) (bootRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *bootRecord
	for _, key := range identityKeys(id) {
		r := s.mu.byKey[key]
		if r == nil {
			continue
		}
		if found != nil && found != r {
			return bootRecord{}, fmt.Errorf("%w: %s is that of volume %s, the rest that of volume %s", netboot.ErrConflict, key, r.Volume, found.Volume)
		}
		found = r
	}
	switch {
	case found == nil:
		return bootRecord{}, netboot.ErrUnknown
	case differ(found.UUID, id.UUID), differ(found.Serial, id.Serial):
		return bootRecord{}, fmt.Errorf("%w: part of it is that of volume %s, but UUID or serial number is another", netboot.ErrConflict, found.Volume)
	}
	return *found, nil
}

// differ compares what both know.
func differ(known, said string) bool { return known != "" && said != "" && known != said }
