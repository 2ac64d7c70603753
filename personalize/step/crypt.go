package step

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"regexp"
	"strings"
)

// Passwords are hashed as "$6$SALT$HASH": SHA-512 of crypt(5), which every Linux of
// the last 15 years reads. Source: Ulrich Drepper, Unix crypt using SHA-256 and
// SHA-512, version 0.6; here with its default of 5000 rounds alone.

const (
	cryptPrefix   = "$6$"
	cryptRounds   = 5000
	cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	cryptSalt     = 16
)

// cryptHash is what shadow(5) takes as the hash of a password, whatever the method.
var cryptHash = regexp.MustCompile(`^\$[0-9a-z]{1,8}\$[./0-9A-Za-z,=$]{8,500}$`)

func hashPassword(password string) (string, error) {
	salt := make([]byte, cryptSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	for i, b := range salt {
		salt[i] = cryptAlphabet[b%64]
	}
	return sha512Crypt(password, string(salt)), nil
}

// isPassword tells whether a hash of this kind is of the password.
func isPassword(password, hash string) bool {
	parts := strings.Split(hash, "$")
	if len(parts) != 4 || parts[0] != "" || parts[1] != "6" || len(parts[2]) > cryptSalt {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(sha512Crypt(password, parts[2])), []byte(hash)) == 1
}

// sha512Crypt follows the numbered steps of the specification.
func sha512Crypt(password, salt string) string {
	key, s := []byte(password), []byte(salt)
	b := digest(key, s, key)                   // 4-8
	a := sha512.New()                          // 1
	a.Write(key)                               // 2
	a.Write(s)                                 // 3
	a.Write(stretch(b, len(key)))              // 9, 10
	for bit := len(key); bit != 0; bit >>= 1 { // 11
		if bit&1 != 0 {
			a.Write(b)
		} else {
			a.Write(key)
		}
	}
	sum := a.Sum(nil)                                              // 12
	p := stretch(digest(bytes.Repeat(key, len(key))), len(key))    // 13-16
	ds := stretch(digest(bytes.Repeat(s, 16+int(sum[0]))), len(s)) // 17-20
	for i := range cryptRounds {                                   // 21
		first, last := p, sum
		if i%2 == 0 {
			first, last = sum, p
		}
		round := append([]byte(nil), first...)
		if i%3 != 0 {
			round = append(round, ds...)
		}
		if i%7 != 0 {
			round = append(round, p...)
		}
		sum = digest(round, last)
	}
	return cryptPrefix + salt + "$" + cryptText(sum) // 22
}

func digest(parts ...[]byte) []byte {
	sum := sha512.Sum512(bytes.Join(parts, nil))
	return sum[:]
}

// stretch repeats b up to a length.
func stretch(b []byte, length int) []byte {
	return bytes.Repeat(b, length/len(b)+1)[:length]
}

// cryptText takes the bytes in the order of the specification, three by three.
func cryptText(sum []byte) string {
	var out strings.Builder
	put := func(v uint32, n int) {
		for range n {
			out.WriteByte(cryptAlphabet[v&63])
			v >>= 6
		}
	}
	for i, x := 0, [3]int{0, 21, 42}; i < 21; i++ {
		put(uint32(sum[x[0]])<<16|uint32(sum[x[1]])<<8|uint32(sum[x[2]]), 4)
		x = [3]int{x[1] + 1, x[2] + 1, x[0] + 1}
	}
	put(uint32(sum[63]), 2)
	return out.String()
}
