package bundle

import (
	"crypto/sha1" // what bundles before August 2017 have: against damage, not against forgers
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	"goldstream/personalize/attribute"
)

const (
	sha256Name = "SHA256SUM.sha256sum"
	sha1Name   = "SHA1SUM.sha1sum"
)

// sums are the digests that a bundle tells of its entries.
type sums struct {
	file string // "" where there are none
	of   map[string]string
}

// readSums reads lines "name TAB digest". A list that names itself is passed over
// there: writers of old had it in, with a digest of something else.
func readSums(file, text string) (sums, error) {
	s := sums{file, map[string]string{}}
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			continue
		}
		name, digest, ok := strings.Cut(line, "\t")
		digest = strings.ToLower(strings.TrimSpace(digest))
		raw, err := hex.DecodeString(digest)
		if !ok || err != nil || len(raw) != s.hash().Size() {
			return s, attribute.Invalid("%s has the line %.200q, which is no name and digest", file, line)
		}
		if name == sha256Name || name == sha1Name {
			continue
		}
		if old, twice := s.of[name]; twice && old != digest {
			return s, attribute.Invalid("%s has two digests of %.200q", file, name)
		}
		s.of[name] = digest
	}
	return s, nil
}

func (s sums) hash() hash.Hash {
	if s.file == sha1Name {
		return sha1.New()
	}
	return sha256.New()
}

// check compares what was read of an entry.
func (s sums) check(name string, digest []byte) error {
	want, listed := s.of[name]
	if got := hex.EncodeToString(digest); listed && got != want {
		return attribute.Invalid("entry %q is damaged or was changed: its digest is %s, and %s says %s; get the bundle again", name, got, s.file, want)
	}
	return nil
}

// verifying fails at the end of an entry whose digest is another.
type verifying struct {
	io.ReadCloser
	name string
	sums sums
	hash hash.Hash
}

func (v *verifying) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF {
		if e := v.sums.check(v.name, v.hash.Sum(nil)); e != nil {
			err = e
		}
	} else if err != nil {
		err = attribute.Invalid("entry %q is damaged: %v; get the bundle again", v.name, err)
	}
	return n, err
}

// text is the list as it is written.
func (s sums) text() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.of)) {
		fmt.Fprintf(&b, "%s\t%s\n", name, s.of[name])
	}
	return b.String()
}
