package daemon

import (
	"context"
	"errors"
	"time"

	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
)

// loadClosed closes the exports that wait for a server.
func (d *Daemon) loadClosed(ctx context.Context, s *store.Store) error {
	return eachVolume(ctx, s, func(v *model.OSVolume) {
		if v.Closed {
			d.exports.close(v.Name, true)
		}
	})
}

func eachVolume(ctx context.Context, s *store.Store, fn func(*model.OSVolume)) error {
	return s.View(ctx, func(r *store.Reader) error {
		return r.Each(model.OSVolumes, func(res model.Resource) error {
			fn(res.(*model.OSVolume))
			return nil
		})
	})
}

// settle ends what tasks left that are finished, before anybody asks for changes.
func (d *Daemon) settle(ctx context.Context, s *store.Store, tasks *task.Engine[*store.Tx]) error {
	return errors.Join(d.failAbandoned(ctx, s, tasks), d.retireLeft(ctx, s))
}

// failAbandoned has profiles show that their task came to nothing that was
// cancelled before it began, or whose end could not be written.
func (d *Daemon) failAbandoned(ctx context.Context, s *store.Store, tasks *task.Engine[*store.Tx]) error {
	abandoned := map[model.URI]string{}
	err := s.View(ctx, func(r *store.Reader) error {
		return r.Each(model.ServerProfiles, func(res model.Resource) error {
			p := res.(*model.ServerProfile)
			if p.State != model.StateApplying {
				return nil
			}
			i, err := tasks.Get(taskID(p.Task), 0)
			if errors.Is(err, task.ErrNotFound) || err == nil && i.State.Finished() {
				abandoned[p.URI] = taskID(p.Task)
			}
			return nil
		})
	})
	if err != nil || len(abandoned) == 0 {
		return err
	}
	return s.Update(ctx, store.Cause{Who: "goldstream", Why: "the task of a profile came to nothing"}, func(tx *store.Tx) error {
		for uri, id := range abandoned {
			if err := failProfile(tx, uri, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// retireLeft retires volumes that could not be when they were replaced, and
// forgets those that are gone for good.
func (d *Daemon) retireLeft(ctx context.Context, s *store.Store) error {
	var retired []*model.OSVolume
	err := eachVolume(ctx, s, func(v *model.OSVolume) {
		if v.IsRetired() {
			retired = append(retired, v)
		}
	})
	if err != nil || len(retired) == 0 {
		return err
	}
	kept, err := d.retiredNames(ctx)
	if err != nil {
		return err
	}
	var gone []*model.OSVolume
	var errs error
	for _, v := range retired {
		_, err := d.store.Volume(ctx, v.Name)
		switch {
		case err == nil:
			errs = errors.Join(errs, d.retire(ctx, v.Name, "", max(time.Until(v.Until), time.Minute)))
		case errors.Is(err, blockstore.ErrNotFound) && !kept[v.Name]:
			gone = append(gone, v)
		}
	}
	if len(gone) == 0 {
		return errs
	}
	return errors.Join(errs, s.Update(ctx, store.Cause{Who: "goldstream", Why: "the time to restore is over"}, func(tx *store.Tx) error {
		for _, v := range gone {
			if err := tx.Delete(v.URI, store.AnyETag); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (d *Daemon) retiredNames(ctx context.Context) (map[string]bool, error) {
	list, err := d.store.RetiredVolumes(ctx)
	names := map[string]bool{}
	for _, v := range list {
		names[v.Name] = true
	}
	return names, err
}

func (d *Daemon) grace() time.Duration {
	if d.opts.Grace > 0 {
		return d.opts.Grace
	}
	return defaultGrace
}

// cutOff cuts NBD clients off a volume and keeps them off until lift is called.
func (d *Daemon) cutOff(ctx context.Context, volume string) (lift func(), err error) {
	lift = d.exports.bar(volume)
	if srv := d.clients.Load(); srv != nil {
		if err := srv.Fence(ctx, volume); err != nil {
			lift()
			return nil, err
		}
	}
	return lift, nil
}

// clientsOf is how many NBD clients have a volume open.
func (d *Daemon) clientsOf(volume string) int {
	if srv := d.clients.Load(); srv != nil {
		return srv.InUse(volume)
	}
	return 0
}
