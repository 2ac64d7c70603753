package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"goldstream/lifecycle/model"
)

// Cause is why an update is made.
type Cause struct {
	Who  string `json:"who"` // a user, or the program itself; never empty
	Why  string `json:"why"` // the request, the rule
	Task string `json:"task,omitempty"`
}

// Change is what happened to one resource.
type Change struct {
	Op   string    `json:"op"` // create, save, delete
	URI  model.URI `json:"uri"`
	Name string    `json:"name"`
	ETag string    `json:"eTag,omitempty"` // of the new state
}

// Entry is one update in the audit trail. Sequences grow by one.
type Entry struct {
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`
	Cause    Cause     `json:"cause"`
	Changes  []Change  `json:"changes"`
}

// audit adds the entry of this update to its batch.
func (tx *Tx) audit(c Cause) error {
	if c.Who == "" || c.Why == "" {
		return errf(model.ErrInvalid, "an update names nobody, or no reason: the audit trail needs both")
	}
	b, err := json.Marshal(Entry{Sequence: tx.seq, Time: tx.now, Cause: c, Changes: tx.changes})
	if err != nil {
		return err
	}
	return tx.batch.Set(auditKey(tx.seq), b, nil)
}

var errEnough = errors.New("enough")

// Audit returns up to limit entries behind a sequence, in order; 0 begins with
// the first. Errors as of View, and ErrCorrupt.
func (s *Store) Audit(ctx context.Context, behind uint64, limit int) ([]Entry, error) {
	var list []Entry
	err := s.View(ctx, func(r *Reader) error {
		return scan(r.from, auditKey(behind+1), []byte{prefixAudit + 1}, func(key, value []byte) error {
			if len(list) >= limit {
				return errEnough
			}
			var e Entry
			if err := json.Unmarshal(value, &e); err != nil || len(key) != 9 || e.Sequence != binary.BigEndian.Uint64(key[1:]) {
				return errf(ErrCorrupt, "entry %x of the audit trail in %s cannot be read", key[1:], s.dir)
			}
			list = append(list, e)
			return nil
		})
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return list, err
}
