package store

import (
	"encoding/binary"
	"encoding/json"

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

// record is what stands under an r key. The resource has masks for secrets.
type record struct {
	Resource json.RawMessage   `json:"resource"`
	Secrets  map[string]string `json:"secrets,omitempty"` // by their name in Resource.Secrets
}

func encode(r model.Resource) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	rec := record{Resource: body}
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
	var rec record
	if err := json.Unmarshal(b, &rec); err != nil {
		return nil, errf(ErrCorrupt, "%s cannot be read: %v; restore the store from a backup", uri, err)
	}
	if err := json.Unmarshal(rec.Resource, r); err != nil {
		return nil, errf(ErrCorrupt, "%s cannot be read: %v; restore the store from a backup", uri, err)
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
