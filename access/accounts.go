package access

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options of Accounts. The zero value works.
type Options struct {
	// Now tells the time. Default time.Now.
	Now func() time.Time
	// memory of a password in KiB; tests take less.
	memory uint32
}

// Accounts are the users, sessions and API tokens of one directory. They are safe
// for any number of goroutines.
type Accounts struct {
	dir     string
	now     func() time.Time
	hashing chan struct{}
	memory  uint32 // KiB of each

	mu struct {
		sync.Mutex
		record   record // what the file holds
		sessions map[string]*session
		throttle throttle
	}
}

// hashers is how many passwords are worked on at once.
const hashers = 2

// Administrator is the name of the first user.
const Administrator = "administrator"

// Open reads the accounts of a directory, which need not exist. Errors: ErrCorrupt,
// ErrFormat.
func Open(dir string, o Options) (*Accounts, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.memory == 0 {
		o.memory = hashMemory
	}
	r, err := load(dir)
	if err != nil {
		return nil, err
	}
	a := &Accounts{dir: dir, now: o.Now, hashing: make(chan struct{}, hashers), memory: o.memory}
	a.mu.record = r
	a.mu.sessions = map[string]*session{}
	a.mu.throttle = throttle{now: o.Now, counted: map[string]time.Time{}}
	return a, nil
}

// User is what others see of one.
type User struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	OneTime bool      `json:"oneTime,omitempty"` // the password must be changed at the next login
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"` // the password
}

func (u user) public() User { return User{u.Name, u.Role, u.OneTime, u.Created, u.Changed} }

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

func checkName(name string) error {
	if !nameRule.MatchString(name) {
		return errf(ErrInvalid, "%.64q is no name: use up to 64 letters, digits and . _ @ -, a letter or digit first", name)
	}
	return nil
}

func checkRole(r Role) error {
	if !slices.Contains(Roles(), r) {
		return errf(ErrInvalid, "there is no role %.64q: there are infrastructure, server, software and read-only", r)
	}
	return nil
}

// find returns the place of a user; names differ by more than case.
func (r record) find(name string) int {
	return slices.IndexFunc(r.Users, func(u user) bool { return strings.EqualFold(u.Name, name) })
}

// changeLocked has f change a copy of the record, and keeps it.
func (a *Accounts) changeLocked(f func(r *record) error) error {
	r := a.mu.record.clone()
	r.dropOver(a.now())
	if err := f(&r); err != nil {
		return err
	}
	if err := save(a.dir, r); err != nil {
		return err
	}
	if first := a.mu.record.firstHash(); first != "" && first != r.firstHash() {
		_ = os.Remove(filepath.Join(a.dir, FirstPasswordFile)) // the password in it opens nothing any more
	}
	a.mu.record = r
	return nil
}

// Bootstrap makes the first user, where there is none, and returns its one-time
// password; "" where there is one. With keep, the password is in FirstPasswordFile
// too.
func (a *Accounts) Bootstrap(ctx context.Context, keep bool) (password string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.mu.record.Users) > 0 {
		if a.mu.record.firstHash() == "" { // a kill may have left it
			_ = os.Remove(filepath.Join(a.dir, FirstPasswordFile))
		}
		return "", nil
	}
	password = randomText(12)
	now := a.now()
	u := user{Name: Administrator, Role: Infrastructure, OneTime: true, Created: now, Changed: now}
	if err := a.work(ctx, func() { u.Hash = a.hashPassword(password) }); err != nil {
		return "", err
	}
	if keep { // first: nobody would know a password that is lost between the two
		if err := keepFirst(a.dir, password); err != nil {
			return "", err
		}
	}
	return password, a.changeLocked(func(r *record) error {
		r.Users = append(r.Users, u)
		return nil
	})
}

var secretText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func randomText(n int) string {
	p := make([]byte, n)
	_, _ = rand.Read(p) // never fails
	return secretText.EncodeToString(p)
}

// Users lists the users by name.
func (a *Accounts) Users() []User {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]User, 0, len(a.mu.record.Users))
	for _, u := range a.mu.record.Users {
		list = append(list, u.public())
	}
	slices.SortFunc(list, func(a, b User) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// User returns one.
func (a *Accounts) User(name string) (User, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.mu.record.find(name)
	if i < 0 {
		return User{}, noUser(name)
	}
	return a.mu.record.Users[i].public(), nil
}

func noUser(name string) error { return errf(ErrNotFound, "there is no user %.64q", name) }

// CreateUser makes a user. With oneTime the password must be changed at the first
// login.
func (a *Accounts) CreateUser(ctx context.Context, name string, role Role, password string, oneTime bool) (User, error) {
	for _, err := range []error{checkName(name), checkRole(role), checkPassword(name, password)} {
		if err != nil {
			return User{}, err
		}
	}
	now := a.now()
	u := user{Name: name, Role: role, OneTime: oneTime, Created: now, Changed: now}
	if err := a.work(ctx, func() { u.Hash = a.hashPassword(password) }); err != nil {
		return User{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return u.public(), a.changeLocked(func(r *record) error {
		if i := r.find(name); i >= 0 {
			return errf(ErrExists, "there is a user %s already", r.Users[i].Name)
		}
		if len(r.Users) >= maxUsers {
			return errf(ErrFull, "there are %d users, which is the bound: delete some first", maxUsers)
		}
		r.Users = append(r.Users, u)
		return nil
	})
}

// keepsAdministrator refuses that the last one goes who can make users.
func (r *record) keepsAdministrator(name string) error {
	if !slices.ContainsFunc(r.Users, func(u user) bool { return u.Role == Infrastructure }) {
		return errf(ErrInUse, "%s is the last user with the role infrastructure: give it to another one first", name)
	}
	return nil
}

// ChangeUser gives a user another role, another password, or both, by an
// administrator's word; "" leaves either. Sessions of the user end.
func (a *Accounts) ChangeUser(ctx context.Context, name string, role Role, password string, oneTime bool) (User, error) {
	var hash passwordHash
	if role != "" {
		if err := checkRole(role); err != nil {
			return User{}, err
		}
	}
	if password != "" {
		if err := checkPassword(name, password); err != nil {
			return User{}, err
		}
		if err := a.work(ctx, func() { hash = a.hashPassword(password) }); err != nil {
			return User{}, err
		}
	}
	return a.edit(name, func(r *record, u *user) error {
		if hash != "" {
			u.Hash, u.OneTime, u.Changed = hash, oneTime, a.now()
		}
		if role != "" {
			u.Role = role
		}
		return r.keepsAdministrator(name)
	})
}

// edit changes a user and ends its sessions.
func (a *Accounts) edit(name string, f func(r *record, u *user) error) (User, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var made User
	err := a.changeLocked(func(r *record) error {
		i := r.find(name)
		if i < 0 {
			return noUser(name)
		}
		if err := f(r, &r.Users[i]); err != nil {
			return err
		}
		made = r.Users[i].public()
		return nil
	})
	if err == nil {
		a.endSessionsLocked(made.Name)
	}
	return made, err
}

// DeleteUser deletes a user with its sessions and API tokens.
func (a *Accounts) DeleteUser(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var deleted string
	err := a.changeLocked(func(r *record) error {
		i := r.find(name)
		if i < 0 {
			return noUser(name)
		}
		deleted = r.Users[i].Name
		r.Users = slices.Delete(r.Users, i, i+1)
		r.Tokens = slices.DeleteFunc(r.Tokens, func(t token) bool { return t.Owner == deleted })
		return r.keepsAdministrator(name)
	})
	if err == nil {
		a.endSessionsLocked(deleted)
	}
	return err
}
