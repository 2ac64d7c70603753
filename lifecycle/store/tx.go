package store

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"goldstream/lifecycle/model"
)

// AnyETag is the eTag of who saves or deletes whatever the present state is.
const AnyETag = "*"

// Tx is an update that runs. What it reads has its own changes. It is valid
// within the function that was given it, and for one goroutine. A change that
// fails makes the whole update fail.
//
// Each change is checked when it is made: what it references must be there
// before, what it claims be given up before.
type Tx struct {
	Reader
	batch   *pebble.Batch
	changes []Change
	journal bool     // records of the journal are in the batch
	after   []func() // what callers' resources learn once it is durable
	now     time.Time
	seq     uint64
	err     error
}

// Create adds a resource. It gets a URI if it has none; URI, eTag and times
// stand in r once the update is durable, except that a URI chosen here does so
// at once, for others to reference. Errors: model.ErrInvalid, also for
// references to nothing; ErrExists.
func (tx *Tx) Create(r model.Resource) error {
	if r.Head().URI == "" {
		r.Head().URI = model.NewURI(r.Kind())
	}
	return tx.note(tx.create(r))
}

func (tx *Tx) create(r model.Resource) error {
	uri := r.Head().URI
	old, err := tx.value(recordKey(uri))
	if err != nil {
		return err
	}
	if old != nil {
		return errf(ErrExists, "%s exists already", uri)
	}
	return tx.put("create", r, tx.now)
}

// Save replaces the state of a resource that r.ETag names. URI and the time of
// creation stay; the new eTag stands in r once the update is durable. Errors:
// ErrNotFound, ErrStale, and those of Create.
func (tx *Tx) Save(r model.Resource) error { return tx.note(tx.save(r)) }

func (tx *Tx) save(r model.Resource) error {
	old, err := tx.present(r.Head().URI, r.Head().ETag)
	if err != nil {
		return err
	}
	if err := tx.unlink(old); err != nil {
		return err
	}
	return tx.put("save", r, old.Head().Created)
}

// Delete removes the state of a resource that etag names. Errors: ErrNotFound,
// ErrStale; ErrInUse while others reference it.
func (tx *Tx) Delete(uri model.URI, etag string) error { return tx.note(tx.delete(uri, etag)) }

func (tx *Tx) delete(uri model.URI, etag string) error {
	old, err := tx.present(uri, etag)
	if err != nil {
		return err
	}
	users, err := tx.Referrers(uri)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return errf(ErrInUse, "%s (%s) cannot be deleted: %s and %d others refer to it; change them first", old.Head().Name, uri, users[0], len(users)-1)
	}
	if err := tx.unlink(old); err != nil {
		return err
	}
	tx.changes = append(tx.changes, Change{Op: "delete", URI: uri, Name: old.Head().Name})
	return tx.batch.Delete(recordKey(uri), nil)
}

// present returns the resource if its eTag is the one that is known.
func (tx *Tx) present(uri model.URI, etag string) (model.Resource, error) {
	old, err := tx.Get(uri)
	if err != nil {
		return nil, err
	}
	if h := old.Head(); etag != AnyETag && etag != h.ETag {
		return nil, errf(ErrStale, "%s (%s) was changed meanwhile: its eTag is %q, not %q; read it again and repeat the change", h.Name, uri, h.ETag, etag)
	}
	return old, nil
}

// put writes record, claims and references. r keeps its head until the update
// is durable, so that a change that failed can be made again.
func (tx *Tx) put(op string, r model.Resource, created time.Time) error {
	if err := r.Validate(); err != nil {
		return err
	}
	head := *r.Head()
	head.Created, head.Modified = created, tx.now
	head.ETag = fmt.Sprintf("%d/%d", tx.now.UnixMilli(), tx.seq)
	if err := tx.link(r); err != nil {
		return err
	}
	before := *r.Head()
	*r.Head() = head
	b, err := encode(r)
	*r.Head() = before
	if err != nil {
		return err
	}
	tx.after = append(tx.after, func() { *r.Head() = head })
	tx.changes = append(tx.changes, Change{Op: op, URI: head.URI, Name: head.Name, ETag: head.ETag})
	return tx.batch.Set(recordKey(head.URI), b, nil)
}

func (tx *Tx) link(r model.Resource) error {
	uri := r.Head().URI
	for _, c := range claims(r) {
		owner, err := tx.Owner(c)
		if err != nil {
			return err
		}
		if owner != "" && owner != uri {
			return errf(ErrExists, "%s is taken by %s: choose another, or change that one first", c.What, owner)
		}
		if err := tx.batch.Set(claimKey(c), []byte(uri), nil); err != nil {
			return err
		}
	}
	for _, ref := range r.References() {
		b, err := tx.value(recordKey(ref.To))
		if err != nil {
			return err
		}
		if b == nil {
			return errf(model.ErrInvalid, "%s of %q is %s, which does not exist", ref.Field, r.Head().Name, ref.To)
		}
		if err := tx.batch.Set(referenceKey(ref.To, uri), nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// unlink removes the claims and references of a state that ends.
func (tx *Tx) unlink(old model.Resource) error {
	for _, c := range claims(old) {
		if err := tx.batch.Delete(claimKey(c), nil); err != nil {
			return err
		}
	}
	for _, ref := range old.References() {
		if err := tx.batch.Delete(referenceKey(ref.To, old.Head().URI), nil); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) note(err error) error {
	if tx.err == nil {
		tx.err = err
	}
	return err
}
