package daemon

import (
	"context"
	"errors"

	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
)

// giveUp has the profiles show that the task failed. What it was for is owed. A
// server that is not the profile's any more loses the volume all the same.
func (d *Daemon) giveUp(ctx context.Context, r *task.Run, w *work) (task.Commit[*store.Tx], error) {
	id := r.ID()
	done := hasSwapped(r)
	for _, m := range w.Moves {
		if done || !m.Stays {
			continue
		}
		d.exports.close(m.OldName, true)
		lift, err := d.cutOff(ctx, m.OldName)
		if err != nil {
			r.Logf("the clients of volume %q are not all gone; they are before it is opened again: %v", m.OldName, err)
			continue
		}
		lift() // it is closed
	}
	return func(tx *store.Tx) error {
		for _, m := range w.Moves {
			if err := failProfile(tx, m.Profile, id); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// failProfile marks a profile that still is the task's.
func failProfile(tx *store.Tx, uri model.URI, id string) error {
	res, err := tx.Get(uri)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	p := res.(*model.ServerProfile)
	if p.State != model.StateApplying || taskID(p.Task) != id {
		return nil
	}
	p.State = model.StateError
	return tx.Save(p)
}

func (d *Daemon) unfenceOld(_ context.Context, _ *task.Run, w *work) (task.Commit[*store.Tx], error) {
	var open []model.URI
	for _, m := range w.Moves {
		if m.cutsOff() && !m.Stays {
			d.exports.close(m.OldName, false)
			open = append(open, m.Old)
		}
	}
	return setClosed(open, false), nil
}
