package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Cost of a password, as OWASP recommends for argon2id: 19 MiB, two passes.
const (
	hashMemory = 19 << 10 // KiB
	hashPasses = 2
	hashLength = 32
	saltLength = 16

	maxHashMemory = 64 << 10 // KiB; a file asks for no more
	maxHashPasses = 10

	minPassword = 8
	maxPassword = 256 // bytes; longer ones are refused before they are worked on
)

// passwordHash is one in the PHC string format:
//
//	$argon2id$v=19$m=MEMORY,t=PASSES,p=1$SALT$HASH
type passwordHash string

const phc = "$argon2id$v=%d$m=%d,t=%d,p=1$"

func (a *Accounts) hashPassword(password string) passwordHash {
	var salt [saltLength]byte
	_, _ = rand.Read(salt[:]) // never fails
	h := parsedHash{memory: a.memory, passes: hashPasses, salt: salt[:]}
	return h.text(h.derive(password))
}

type parsedHash struct {
	memory, passes uint32
	salt, sum      []byte
}

func (h parsedHash) derive(password string) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, 1, hashLength)
}

func (h parsedHash) text(sum []byte) passwordHash {
	b := base64.RawStdEncoding
	return passwordHash(fmt.Sprintf(phc, argon2.Version, h.memory, h.passes) + b.EncodeToString(h.salt) + "$" + b.EncodeToString(sum))
}

func (h passwordHash) parse() (p parsedHash, ok bool) {
	fields := strings.Split(string(h), "$")
	if len(fields) != 6 {
		return p, false
	}
	var version int
	head := strings.Join(fields[:4], "$") + "$"
	if n, err := fmt.Sscanf(head, phc, &version, &p.memory, &p.passes); n != 3 || err != nil || fmt.Sprintf(phc, argon2.Version, p.memory, p.passes) != head {
		return p, false
	}
	salt, errSalt := base64.RawStdEncoding.DecodeString(fields[4])
	sum, errSum := base64.RawStdEncoding.DecodeString(fields[5])
	p.salt, p.sum = salt, sum
	return p, errSalt == nil && errSum == nil && len(salt) == saltLength && len(sum) == hashLength &&
		p.memory >= 8 && p.memory <= maxHashMemory && p.passes >= 1 && p.passes <= maxHashPasses
}

func (h passwordHash) matches(password string) bool {
	p, ok := h.parse()
	return ok && subtle.ConstantTimeCompare(p.derive(password), p.sum) == 1
}

// nobody's hash matches no password, and takes as long to say so as another.
func (a *Accounts) nobody() passwordHash {
	h := parsedHash{memory: a.memory, passes: hashPasses, salt: make([]byte, saltLength)}
	return h.text(make([]byte, hashLength))
}

func checkPassword(user, password string) error {
	switch {
	case len(password) < minPassword:
		return errf(ErrInvalid, "the password is too short: use %d characters or more", minPassword)
	case len(password) > maxPassword:
		return errf(ErrInvalid, "the password is too long: use up to %d bytes", maxPassword)
	case strings.EqualFold(user, password):
		return errf(ErrInvalid, "the password is the user's name: use another")
	}
	return nil
}

// work runs f when few others do, since each takes memory.
func (a *Accounts) work(ctx context.Context, f func()) error {
	select {
	case a.hashing <- struct{}{}:
		defer func() { <-a.hashing }()
		f()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
