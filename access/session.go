package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"
)

const (
	sessionPrefix = "gss_" // of the secret of a session
	secretBytes   = 20     // 160 bits that nobody guesses

	// IdleTimeout is when a session ends that nobody uses, unless SetIdleTimeout
	// says otherwise.
	IdleTimeout = 24 * time.Hour
	// MaxIdleTimeout bounds it.
	MaxIdleTimeout  = 7 * 24 * time.Hour
	sessionLifetime = 7 * 24 * time.Hour // however much it is used
	userSessions    = 256                // the least recently used one ends
)

type session struct {
	user    string
	created time.Time
	used    time.Time
	idle    time.Duration
}

func (s *session) over(now time.Time) bool {
	return now.Sub(s.used) >= s.idle || now.Sub(s.created) >= sessionLifetime
}

// Session is what others see of one.
type Session struct {
	User        string        `json:"user"`
	Role        Role          `json:"role"`
	Created     time.Time     `json:"created"`
	IdleTimeout time.Duration `json:"idleTimeout"`
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Login begins a session and returns its secret. A one-time password needs a new
// one with it, and any other takes one. Errors: ErrUnknown, ErrOneTime, ErrInvalid
// of the new password, a *ThrottleError.
func (a *Accounts) Login(ctx context.Context, name, password, fresh string, from netip.Addr) (secret string, s Session, err error) {
	if len(name) > 64 || len(password) > maxPassword {
		name, password = "", "" // fails below, and is counted
	}
	u, err := a.verify(ctx, name, password, from)
	if err != nil {
		return "", s, err
	}
	if u.OneTime && fresh == "" {
		return "", s, errf(ErrOneTime, "the password of %s is for one login, and that has to bring a new one", u.Name)
	}
	if fresh != "" {
		if fresh == password {
			return "", s, errf(ErrInvalid, "the new password is the old one")
		}
		if err := a.renew(ctx, u, fresh); err != nil {
			return "", s, err
		}
	}
	return a.begin(u, fresh != "")
}

// verify finds the user of a name and a password.
func (a *Accounts) verify(ctx context.Context, name, password string, from netip.Addr) (user, error) {
	a.mu.Lock()
	t := &a.mu.throttle
	if wait := t.wait(name, from); wait > 0 {
		a.mu.Unlock()
		return user{}, &ThrottleError{wait}
	}
	t.failed(name, from)
	u := user{Hash: a.nobody()}
	i := a.mu.record.find(name)
	if i >= 0 {
		u = a.mu.record.Users[i]
	}
	a.mu.Unlock()

	var ok bool
	err := a.work(ctx, func() { ok = u.Hash.matches(password) })
	if err != nil {
		return user{}, err
	}
	if !ok || i < 0 {
		return user{}, errf(ErrUnknown, "user name or password is wrong")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t.succeeded(name, from)
	return u, nil
}

// renew gives u, as it was when its password was looked at, another password.
func (a *Accounts) renew(ctx context.Context, u user, fresh string) error {
	if err := checkPassword(u.Name, fresh); err != nil {
		return err
	}
	var hash passwordHash
	if err := a.work(ctx, func() { hash = a.hashPassword(fresh) }); err != nil {
		return err
	}
	_, err := a.edit(u.Name, func(_ *record, now *user) error {
		if now.Hash != u.Hash {
			return errf(ErrUnknown, "the password of %s was changed meanwhile", u.Name)
		}
		now.Hash, now.OneTime, now.Changed = hash, false, a.now()
		return nil
	})
	return err
}

func (a *Accounts) begin(u user, renewed bool) (string, Session, error) {
	secret := sessionPrefix + randomText(secretBytes)
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.mu.record.find(u.Name)
	if i < 0 || !renewed && a.mu.record.Users[i].Hash != u.Hash {
		return "", Session{}, errf(ErrUnknown, "the user %s was changed meanwhile", u.Name)
	}
	a.makeRoomLocked(u.Name, now)
	s := &session{user: u.Name, created: now, used: now, idle: IdleTimeout}
	a.mu.sessions[hashOf(secret)] = s
	return secret, Session{s.user, a.mu.record.Users[i].Role, s.created, s.idle}, nil
}

// makeRoomLocked drops sessions that are over and, of a user with too many, the
// least recently used one.
func (a *Accounts) makeRoomLocked(name string, now time.Time) {
	own, oldest := 0, ""
	for hash, s := range a.mu.sessions {
		if s.over(now) {
			delete(a.mu.sessions, hash)
			continue
		}
		if s.user != name {
			continue
		}
		own++
		if oldest == "" || s.used.Before(a.mu.sessions[oldest].used) {
			oldest = hash
		}
	}
	if own >= userSessions {
		delete(a.mu.sessions, oldest)
	}
}

func (a *Accounts) endSessionsLocked(name string) {
	for hash, s := range a.mu.sessions {
		if s.user == name {
			delete(a.mu.sessions, hash)
		}
	}
}

// sessionLocked returns the session of a secret and its user, and counts it as
// used. A session does not outlive its user: see endSessionsLocked.
func (a *Accounts) sessionLocked(secret string) (*session, user, error) {
	s, ok := a.mu.sessions[hashOf(secret)]
	now := a.now()
	if ok && s.over(now) {
		delete(a.mu.sessions, hashOf(secret))
		ok = false
	}
	i := -1
	if ok {
		i = a.mu.record.find(s.user)
	}
	if i < 0 {
		return nil, user{}, errf(ErrUnknown, "the session is unknown or over: log in again")
	}
	s.used = now
	return s, a.mu.record.Users[i], nil
}

// Session describes the session of a secret.
func (a *Accounts) Session(secret string) (Session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, u, err := a.sessionLocked(secret)
	if err != nil {
		return Session{}, err
	}
	return Session{u.Name, u.Role, s.created, s.idle}, nil
}

// SetIdleTimeout sets when the session ends that nobody uses.
func (a *Accounts) SetIdleTimeout(secret string, idle time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, _, err := a.sessionLocked(secret)
	if err != nil {
		return err
	}
	if idle <= 0 || idle > MaxIdleTimeout {
		return errf(ErrInvalid, "an idle timeout of %s: give more than none and up to %s", idle, MaxIdleTimeout)
	}
	s.idle = idle
	return nil
}

// Logout ends the session of a secret.
func (a *Accounts) Logout(secret string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, _, err := a.sessionLocked(secret); err != nil {
		return err
	}
	delete(a.mu.sessions, hashOf(secret))
	return nil
}

// Authenticate says whose secret it is, of a session or an API token. The error is
// an ErrUnknown.
func (a *Accounts) Authenticate(secret string) (Identity, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if strings.HasPrefix(secret, tokenPrefix) {
		return a.tokenLocked(secret)
	}
	_, u, err := a.sessionLocked(secret)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Name: u.Name, Role: u.Role}, nil
}
