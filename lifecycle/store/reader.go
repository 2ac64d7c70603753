package store

import (
	"encoding/json"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"goldstream/lifecycle/model"
)

// Reader reads one state of the store. It is valid within the function that
// was given it, and for one goroutine.
type Reader struct{ from pebble.Reader }

// Get returns a resource, the caller's own. Errors: ErrNotFound, ErrCorrupt.
func (r *Reader) Get(uri model.URI) (model.Resource, error) {
	b, err := r.value(recordKey(uri))
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, errf(ErrNotFound, "there is no %s", uri)
	}
	return decode(uri, b)
}

// Has tells whether there is a resource.
func (r *Reader) Has(uri model.URI) (bool, error) {
	b, err := r.value(recordKey(uri))
	return b != nil, err
}

// Name returns the name of a resource. Errors as of Get.
func (r *Reader) Name(uri model.URI) (string, error) {
	b, err := r.value(recordKey(uri))
	if err != nil {
		return "", err
	}
	if b == nil {
		return "", errf(ErrNotFound, "there is no %s", uri)
	}
	var n named
	if err := json.Unmarshal(b, &n); err != nil {
		return "", unreadable(uri, err)
	}
	return n.Resource.Name, nil
}

// ByName returns the resource of a kind that has a name. Errors as of Get.
func (r *Reader) ByName(k model.Kind, name string) (model.Resource, error) {
	uri, err := r.Owner(nameClaim(k, name))
	if err != nil {
		return nil, err
	}
	if uri == "" {
		return nil, errf(ErrNotFound, "none of the %s is called %q", k, name)
	}
	return r.Get(uri)
}

// Owner returns who has a claim, or "".
func (r *Reader) Owner(c model.Claim) (model.URI, error) {
	b, err := r.value(claimKey(c))
	return model.URI(b), err
}

// Each calls fn with all resources of a kind, in the order of their URIs, until
// fn fails.
func (r *Reader) Each(k model.Kind, fn func(model.Resource) error) error {
	return r.scan(recordKey(model.URI("/rest/"+string(k)+"/")), func(key, value []byte) error {
		res, err := decode(model.URI(key[1:]), value)
		if err != nil {
			return err
		}
		return fn(res)
	})
}

// Referrers lists who references a resource.
func (r *Reader) Referrers(to model.URI) ([]model.URI, error) {
	var list []model.URI
	prefix := referrers(to)
	err := r.scan(prefix, func(key, _ []byte) error {
		list = append(list, model.URI(key[len(prefix):]))
		return nil
	})
	return list, err
}

// value returns a copy of what stands under a key, or nil.
func (r *Reader) value(key []byte) ([]byte, error) {
	b, closer, err := r.from.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b = append([]byte{}, b...)
	return b, closer.Close()
}

func (r *Reader) scan(prefix []byte, fn func(key, value []byte) error) error {
	return scan(r.from, prefix, after(prefix), fn)
}

func scan(from pebble.Reader, lower, upper []byte, fn func(key, value []byte) error) error {
	it, err := from.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = fn(it.Key(), it.Value())
	}
	return errors.Join(err, it.Close())
}
