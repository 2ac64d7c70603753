package daemon

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// A token is the name by which one volume is opened on listeners that others
// than this host reach. It stands in a file of its own, DATA/exports/ID.json:
//
//	id        the first 6 bytes of hash, in hex; also the file's name
//	hash      SHA-256 of the token, in hex; the token itself is nowhere
//	volume    the volume's name when the token was made
//	volumeId  the volume; another one of the same name is not opened
//	readOnly  whether it opens for reading only
//	allow     address ranges that may use it; none means all
//	profile   whether it is that of a server profile
//	boot      whether it is a boot record's, and of no use without one
//	created   when it was made
//
// A file comes by rename and goes by unlink, each followed by a sync of the
// directory. So after a kill a token is there whole, or not.
type token struct {
	ID       string         `json:"id"`
	Hash     string         `json:"hash"`
	Volume   string         `json:"volume"`
	VolumeID string         `json:"volumeId"`
	ReadOnly bool           `json:"readOnly,omitempty"`
	Allow    []netip.Prefix `json:"allow,omitempty"`
	Profile  bool           `json:"profile,omitempty"`
	Boot     bool           `json:"boot,omitempty"`
	Created  time.Time      `json:"created"`
}

const (
	tokenBytes  = 20 // 160 bits that nobody guesses
	tokenSuffix = ".json"
	newSuffix   = ".new"
)

var tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// allows reports whether a client of the address may use the token.
func (t *token) allows(client net.Addr) bool {
	if len(t.Allow) == 0 {
		return true
	}
	tcp, ok := client.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(t.Allow, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// tokens are all tokens of a data directory.
type tokens struct {
	dir string
	mu  struct {
		sync.RWMutex
		byID map[string]token
	}
}

// openTokens reads the tokens. One that cannot be read opens nothing.
func openTokens(dir string, log *slog.Logger, readOnly bool) (*tokens, error) {
	s := &tokens{dir: dir}
	s.mu.byID = map[string]token{}
	_, err := readRecords(dir, log, "an export token cannot be read, and opens nothing: make a new one", readOnly, func(path string) error {
		t, err := readToken(path)
		if err == nil {
			s.mu.byID[t.ID] = t
		}
		return err
	})
	return s, err
}

func readToken(path string) (t token, err error) {
	p, err := os.ReadFile(path)
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(p, &t); err != nil {
		return t, err
	}
	hash, err := hex.DecodeString(t.Hash)
	if err != nil || len(hash) != sha256.Size || idOf([sha256.Size]byte(hash)) != t.ID || filepath.Base(path) != t.ID+tokenSuffix {
		return t, errors.New("hash, id and file name do not fit")
	}
	return t, nil
}

func idOf(hash [sha256.Size]byte) string { return hex.EncodeToString(hash[:6]) }

// create keeps t under a new secret, which it returns. It is durable then.
func (s *tokens) create(t token) (secret string, made token, err error) {
	var raw [tokenBytes]byte
	_, _ = rand.Read(raw[:]) // never fails
	secret = tokenText.EncodeToString(raw[:])
	hash := sha256.Sum256([]byte(secret))
	t.ID, t.Hash = idOf(hash), hex.EncodeToString(hash[:])

	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.mu.byID[t.ID]; taken {
		return "", t, errors.New("the new token collides with another one: try again")
	}
	if err := s.write(t); err != nil {
		return "", t, fmt.Errorf("cannot keep the token: %w", err)
	}
	s.mu.byID[t.ID] = t
	return secret, t, nil
}

func (s *tokens) write(t token) error {
	p, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(filepath.Dir(s.dir)); err != nil {
		return err
	}
	if err := replaceFile(s.path(t.ID), p); err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return errors.Join(err, os.Remove(s.path(t.ID))) // nobody has the secret
	}
	return nil
}

// replace writes a token anew, whose secret somebody has.
func (s *tokens) replace(t token) error {
	p, err := json.Marshal(t)
	if err == nil {
		err = replaceFile(s.path(t.ID), p)
	}
	return errors.Join(err, syncDir(s.dir))
}

func (s *tokens) path(id string) string { return filepath.Join(s.dir, id+tokenSuffix) }

// markBoot says that a token is a boot record's, as those made before there was the mark
// do not say themselves.
func (s *tokens) markBoot(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.mu.byID[id]
	if !ok || t.Boot {
		return nil
	}
	t.Boot = true
	if err := s.replace(t); err != nil {
		return err
	}
	s.mu.byID[id] = t
	return nil
}

// find returns the token of a secret. The time it takes tells nothing of the
// hashes there are beyond their ids, which are no secret.
func (s *tokens) find(secret string) (token, bool) {
	hash := sha256.Sum256([]byte(secret))
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, ok := s.mu.byID[idOf(hash)]
	if !ok || subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hex.EncodeToString(hash[:]))) != 1 {
		return token{}, false
	}
	return t, true
}

// list returns all, the oldest first.
func (s *tokens) list() []token {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.mu.byID), func(a, b token) int {
		return a.Created.Compare(b.Created)
	})
}

// remove forgets a token, for good once it returns without an error.
func (s *tokens) remove(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.mu.byID[id]; !ok {
		return fmt.Errorf("there is no export token %q: %w", id, fs.ErrNotExist)
	}
	if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(s.mu.byID, id)
	return syncDir(s.dir)
}

func (s *tokens) has(id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.mu.byID[id]
	return ok
}

// removeOf forgets the tokens that gone says are of no use any more.
func (s *tokens) removeOf(gone func(token) bool) (errs error) {
	for _, t := range s.list() {
		if gone(t) {
			errs = errors.Join(errs, s.remove(t.ID))
		}
	}
	return errs
}
