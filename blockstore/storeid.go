package blockstore

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var storeIDForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

func (s *Store) idPath() string { return filepath.Join(s.dir, "id") }

// id returns the ID of the store, which tells its dumps from those of others. It
// stands beside the metadata, so that it is there when that is gone.
//
// Errors: ErrNotFound (the store is older than IDs), ErrCorrupt.
func (s *Store) id() (string, error) {
	b, err := s.fs.ReadFile(s.idPath())
	if errors.Is(err, os.ErrNotExist) {
		return "", errf(ErrNotFound, "%s is missing: it names the store, so that a dump of another one is refused. If you know that the dump is of this store, write the id into it that the dump's first line has", s.idPath())
	}
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(b))
	if !storeIDForm.MatchString(id) {
		return "", errf(ErrCorrupt, "%s is damaged: it should hold 32 hex digits, the id in the first line of a dump", s.idPath())
	}
	return id, nil
}

// ensureID returns the ID of the store, and gives it one if it is older than
// IDs.
func (s *Store) ensureID() (string, error) {
	id, err := s.id()
	if !errors.Is(err, ErrNotFound) {
		return id, err
	}
	id = newID()
	return id, writeSynced(s, map[string][]byte{s.idPath(): []byte(id + "\n")}, s.idPath())
}
