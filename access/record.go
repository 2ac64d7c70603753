package access

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// DIR/accounts.json, mode 0600, is replaced as a whole: a new file is written and
// synced, renamed over it, and the directory synced. After a kill it is the old
// one or the new one.
//
//	format  1
//	users   name, role, hash of the password (PHC), oneTime, created, changed
//	tokens  id: first 6 bytes of hash in hex; hash: SHA-256 of the token in hex;
//	        name, owner: user, "" for the Unix socket; role, created, expires
const (
	accountsFile  = "accounts.json"
	newSuffix     = ".new"
	formatVersion = 1

	maxUsers  = 1000
	maxTokens = 10_000 // of all, which the file has room for
	// userTokens bounds those of one user, so that none takes the room of the others.
	userTokens = 100
	maxFile    = 16 << 20
)

type record struct {
	Format int     `json:"format"`
	Users  []user  `json:"users"`
	Tokens []token `json:"tokens"`
}

type user struct {
	Name    string       `json:"name"`
	Role    Role         `json:"role"`
	Hash    passwordHash `json:"hash"`
	OneTime bool         `json:"oneTime,omitempty"`
	Created time.Time    `json:"created"`
	Changed time.Time    `json:"changed"` // the password
}

type token struct {
	ID      string    `json:"id"`
	Hash    string    `json:"hash"`
	Name    string    `json:"name"`
	Owner   string    `json:"owner,omitempty"`
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
}

func (r record) clone() record {
	r.Users, r.Tokens = slices.Clone(r.Users), slices.Clone(r.Tokens)
	return r
}

func load(dir string) (r record, err error) {
	path := filepath.Join(dir, accountsFile)
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{Format: formatVersion}, nil
	}
	if err != nil {
		return r, err
	}
	if fi.Size() > maxFile {
		return r, errf(ErrCorrupt, "%s has %d bytes: it is not a file of this program", path, fi.Size())
	}
	p, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(p, &r); err != nil {
		return r, errf(ErrCorrupt, "%s cannot be read: %v; put a copy back, or move it away to begin with the user administrator anew", path, err)
	}
	if r.Format != formatVersion {
		return r, errf(ErrFormat, "%s has format %d and this program knows %d: use the program that wrote it", path, r.Format, formatVersion)
	}
	return r, r.check(path)
}

func (r record) check(path string) error {
	bad := func(what, name string) error {
		return errf(ErrCorrupt, "%s: the %s %q is damaged; put a copy of the file back, or move it away to begin with the user administrator anew", path, what, name)
	}
	for _, u := range r.Users {
		if _, ok := u.Hash.parse(); !ok || checkName(u.Name) != nil || checkRole(u.Role) != nil {
			return bad("user", u.Name)
		}
	}
	for _, t := range r.Tokens {
		hash, err := hex.DecodeString(t.Hash)
		if err != nil || len(hash) != sha256.Size || hex.EncodeToString(hash[:6]) != t.ID || checkRole(t.Role) != nil {
			return bad("token", t.Name)
		}
	}
	return nil
}

func save(dir string, r record) error {
	p, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	path := filepath.Join(dir, accountsFile)
	if err := write(path+newSuffix, p); err != nil {
		return err
	}
	if err := os.Rename(path+newSuffix, path); err != nil {
		return err
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

func write(path string, p []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(p)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
