package store

import (
	"context"
)

// LoadJournal calls each with all records of the journal, in the order of
// their IDs. What they hold is their writers' affair. Errors as of View, and
// those of each.
func (s *Store) LoadJournal(ctx context.Context, each func(id string, record []byte) error) error {
	return s.View(ctx, func(r *Reader) error {
		return r.scan([]byte{prefixJournal}, func(key, value []byte) error {
			return each(string(key[1:]), append([]byte(nil), value...))
		})
	})
}

// SaveJournal writes records of the journal, or removes those that are nil,
// and makes the changes of also, all at once or none. Only changes of resources
// are in the audit trail. Errors as of Update.
func (s *Store) SaveJournal(ctx context.Context, who, why, task string, records map[string][]byte, also func(*Tx) error) error {
	return s.Update(ctx, Cause{Who: who, Why: why, Task: task}, func(tx *Tx) error {
		for id, b := range records {
			var err error
			if b == nil {
				err = tx.batch.Delete(journalKey(id), nil)
			} else {
				err = tx.batch.Set(journalKey(id), b, nil)
			}
			if err != nil {
				return err
			}
		}
		tx.journal = len(records) > 0
		if also == nil {
			return nil
		}
		return also(tx)
	})
}

func journalKey(id string) []byte { return append([]byte{prefixJournal}, id...) }
