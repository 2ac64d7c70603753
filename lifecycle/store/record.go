package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"

	"goldstream/lifecycle/model"
)

const (
	prefixRecord    = 'r'
	prefixClaim     = 'c'
	prefixReference = 'b'
	prefixAudit     = 'a'
	prefixJournal   = 'j'
)

// keySize is the size of the store's key in bytes.
const keySize = 32

var (
	formatKey = []byte("F")
	keyKey    = []byte("K")
)

// record is what stands under an r key. The resource has masks for secrets. To be
// read, it has an empty resource of the right kind.
type record struct {
	Resource model.Resource    `json:"resource"`
	Secrets  map[string]string `json:"secrets,omitempty"` // by their name in Resource.Secrets
}

// named is what a list needs to know of what its resources refer to: a third of the
// work of the whole.
type named struct {
	Resource struct {
		Name string `json:"name"`
	} `json:"resource"`
}

func encode(r model.Resource) ([]byte, error) {
	rec := record{Resource: r}
	for name, text := range r.Secrets() {
		if rec.Secrets == nil {
			rec.Secrets = map[string]string{}
		}
		rec.Secrets[name] = *text
	}
	return json.Marshal(rec)
}

func decode(uri model.URI, b []byte) (model.Resource, error) {
	r := model.New(uri.Kind())
	if r == nil {
		return nil, errf(ErrCorrupt, "%s is of no known kind", uri)
	}
	rec := record{Resource: r}
	if err := json.Unmarshal(b, &rec); err != nil {
		return nil, unreadable(uri, err)
	}
	if rec.Resource != r { // null stood there
		return nil, unreadable(uri, errors.New("there is no resource"))
	}
	for name, text := range r.Secrets() {
		secret, ok := rec.Secrets[name]
		if !ok {
			return nil, errf(ErrCorrupt, "%s has lost the secret %q; restore the store from a backup", uri, name)
		}
		*text = secret
	}
	return r, nil
}

func unreadable(uri model.URI, err error) error {
	return errf(ErrCorrupt, "%s cannot be read: %v; restore the store from a backup", uri, err)
}

// claims are those of the resource and its name.
func claims(r model.Resource) []model.Claim {
	h := r.Head()
	return append(r.Claims(), nameClaim(r.Kind(), h.Name))
}

func nameClaim(k model.Kind, name string) model.Claim {
	return model.Claim{Key: "name:" + string(k) + ":" + name, What: "the name " + name}
}

func recordKey(uri model.URI) []byte { return append([]byte{prefixRecord}, uri...) }
func claimKey(c model.Claim) []byte  { return append([]byte{prefixClaim}, c.Key...) }
func referrers(to model.URI) []byte  { return append(append([]byte{prefixReference}, to...), 0) }
func auditKey(sequence uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixAudit}, sequence)
}
func referenceKey(to, from model.URI) []byte { return append(referrers(to), from...) }

// after is the first key behind all that begin with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	end[len(end)-1]++
	return end
}
