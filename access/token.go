package access

import (
	"slices"
	"strings"
	"time"
)

const tokenPrefix = "gst_" // of an API token

// Token is what others see of an API token: all but itself.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Owner   string    `json:"owner,omitempty"` // user; none: made on the Unix socket
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Expired bool      `json:"expired,omitempty"`
}

func (a *Accounts) publicToken(t token) Token {
	return Token{t.ID, t.Name, t.Owner, t.Role, t.Created, t.Expires, t.over(a.now())}
}

func (t token) over(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// CreateToken makes an API token of who asks for it, with a role that who covers,
// for a time; 0: until it is revoked. The secret is told this once.
func (a *Accounts) CreateToken(who Identity, name string, role Role, lifetime time.Duration) (secret string, made Token, err error) {
	if err := checkName(name); err != nil {
		return "", made, err
	}
	if err := checkRole(role); err != nil {
		return "", made, err
	}
	if !who.Role.covers(role) {
		return "", made, errf(ErrForbidden, "the role %s makes no tokens of the role %s", who.Role, role)
	}
	if who.Token != "" && !who.May(Administer) {
		return "", made, errf(ErrForbidden, "an API token makes no other one: log in for that")
	}
	if lifetime < 0 {
		return "", made, errf(ErrInvalid, "a token that ended %s ago is of no use", -lifetime)
	}
	secret = tokenPrefix + randomText(secretBytes)
	t := token{Hash: hashOf(secret), Name: name, Role: role, Created: a.now()}
	t.ID = t.Hash[:12]
	if lifetime > 0 {
		t.Expires = t.Created.Add(lifetime)
	}
	if !who.Local {
		t.Owner = who.Name
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	err = a.changeLocked(func(r *record) error {
		if err := r.roomForToken(t.Owner); err != nil {
			return err
		}
		if slices.ContainsFunc(r.Tokens, func(o token) bool { return o.ID == t.ID }) {
			return errf(ErrExists, "the new token collides with another one: try again")
		}
		if t.Owner != "" && r.find(t.Owner) < 0 {
			return noUser(t.Owner)
		}
		r.Tokens = append(r.Tokens, t)
		return nil
	})
	if err != nil {
		return "", made, err
	}
	return secret, a.publicToken(t), nil
}

// roomForToken bounds the tokens of a user, and all. Those that are over are gone.
func (r *record) roomForToken(owner string) error {
	own := 0
	for _, t := range r.Tokens {
		if t.Owner == owner {
			own++
		}
	}
	if owner != "" && own >= userTokens {
		return errf(ErrFull, "%s has %d API tokens, which is the bound of a user: revoke some first", owner, userTokens)
	}
	if len(r.Tokens) >= maxTokens {
		return errf(ErrFull, "there are %d API tokens, which is the bound: revoke some first", maxTokens)
	}
	return nil
}

// dropOver forgets the tokens whose time is over.
func (r *record) dropOver(now time.Time) {
	r.Tokens = slices.DeleteFunc(r.Tokens, func(t token) bool { return t.over(now) })
}

// seenBy tells whether who may see and revoke the token.
func (t token) seenBy(who Identity) bool { return who.May(Administer) || t.Owner == who.Name }

// Tokens lists the API tokens that who may see, the oldest first.
func (a *Accounts) Tokens(who Identity) []Token {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := []Token{}
	for _, t := range a.mu.record.Tokens {
		if t.seenBy(who) {
			list = append(list, a.publicToken(t))
		}
	}
	return list
}

// RevokeToken forgets an API token that who may see.
func (a *Accounts) RevokeToken(who Identity, id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	same := func(t token) bool { return t.ID == id && t.seenBy(who) }
	if slices.ContainsFunc(a.mu.record.Tokens, func(t token) bool { return same(t) && t.over(a.now()) }) {
		return a.changeLocked(func(*record) error { return nil }) // which forgets it
	}
	return a.changeLocked(func(r *record) error {
		i := slices.IndexFunc(r.Tokens, same)
		if i < 0 {
			return errf(ErrNotFound, "there is no API token %.64q", id)
		}
		r.Tokens = slices.Delete(r.Tokens, i, i+1)
		return nil
	})
}

// tokenLocked finds the token of a secret. Who holds the secret of one that is over
// may know that.
func (a *Accounts) tokenLocked(secret string) (Identity, error) {
	hash := hashOf(secret)
	i := slices.IndexFunc(a.mu.record.Tokens, func(t token) bool { return t.Hash == hash })
	if i < 0 {
		return Identity{}, errf(ErrUnknown, "the API token is unknown or was revoked")
	}
	t := a.mu.record.Tokens[i]
	if t.over(a.now()) {
		return Identity{}, errf(ErrUnknown, "the API token %s ended at %s: make a new one", t.ID, t.Expires.UTC().Format(time.RFC3339))
	}
	if t.Owner == "" {
		return Identity{Name: "token " + t.Name, Role: t.Role, Token: t.ID}, nil
	}
	u := a.mu.record.find(t.Owner)
	if u < 0 || !a.mu.record.Users[u].Role.covers(t.Role) {
		return Identity{}, errf(ErrUnknown, "the API token %s has the role %s, and its owner %s has not any more: make a new one", t.ID, t.Role, strings.ToLower(t.Owner))
	}
	return Identity{Name: t.Owner, Role: t.Role, Token: t.ID}, nil
}
