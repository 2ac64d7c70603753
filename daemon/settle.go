package daemon

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/rules"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
)

// sameVolume tells whether a volume of the block store is the one of a record,
// which has the same name. A record without the ID is of before it was kept, and
// its volume was made by a task.
func sameVolume(id string, info blockstore.VolumeInfo) bool {
	if id == "" {
		return strings.HasPrefix(info.Owner, ownerOfTasks)
	}
	return id == info.ID
}

// inService tells whether the volume of a record is one of the block store's that
// can be opened.
func (d *Daemon) inService(ctx context.Context, v *model.OSVolume) (bool, error) {
	info, err := d.store.Volume(ctx, v.Name)
	if errors.Is(err, blockstore.ErrNotFound) {
		return false, nil
	}
	return err == nil && sameVolume(v.VolumeID, info), err
}

// loadClosed closes the exports that wait for a server. The name of a volume that
// is retired is free: whoever has it next, or has that volume restored, opens it.
func (d *Daemon) loadClosed(ctx context.Context, s *store.Store) error {
	return eachVolume(ctx, s, func(v *model.OSVolume) {
		if !v.Closed {
			return
		}
		if live, err := d.inService(ctx, v); !v.IsRetired() || live || err != nil {
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

// shield keeps everybody from the volumes that unfinished tasks make, before such a
// task runs and before NBD is served.
func (d *Daemon) shield(ctx context.Context) func(kind, id string) {
	var made map[string]string // names, by owner
	return func(kind, id string) {
		if made == nil {
			made = map[string]string{}
			volumes, err := d.store.Volumes(ctx)
			if err != nil {
				d.log.Error("volumes that tasks make can be opened until these go on", "error", err)
			}
			for _, v := range volumes {
				made[v.Owner] = v.Name
			}
		}
		name, ok := made[ownerOfTasks+id]
		switch {
		case !ok:
		case kind == changeKindName:
			d.exports.close(name, true)
		case kind == deployKindName, kind == captureKindName:
			d.shieldVolume(id, name)
		}
	}
}

// openLeft has volumes opened whose profiles are on a server, where the task that
// should have done so failed behind its swap.
func (d *Daemon) openLeft(ctx context.Context, s *store.Store) error {
	var left []model.URI
	err := s.View(ctx, func(r *store.Reader) error {
		return r.Each(model.ServerProfiles, func(res model.Resource) error {
			p := res.(*model.ServerProfile)
			if p.State != model.StateError || len(p.Owed) > 0 || p.Hardware == "" || p.Volume == "" {
				return nil
			}
			res, err := r.Get(p.Volume)
			if err == nil && res.(*model.OSVolume).Closed {
				left = append(left, p.URI)
			}
			return err
		})
	})
	b := &backend{Store: d.store, d: d}
	for _, uri := range left {
		_, e := b.carryOut(ctx, wish{v1.Change{}, "open the volume of profile " + uri.ID(), nil, func(ch *change) error {
			before, err := ch.profile(string(uri), v1.Change{})
			if err != nil {
				return err
			}
			after := *before
			return ch.saveProfile(rules.Event{Kind: rules.Save}, before, &after)
		}})
		err = errors.Join(err, e)
	}
	return err
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
	kept, err := d.store.RetiredVolumes(ctx)
	if err != nil {
		return err
	}
	var gone []*model.OSVolume
	var errs error
	for _, v := range retired {
		live, err := d.inService(ctx, v)
		switch {
		case err != nil:
			errs = errors.Join(errs, err)
		case live:
			errs = errors.Join(errs, d.retire(ctx, v.Name, v.VolumeID, "", max(time.Until(v.Until), time.Minute)))
		case !slices.ContainsFunc(kept, func(k blockstore.RetiredVolume) bool { return k.Name == v.Name && sameVolume(v.VolumeID, k.VolumeInfo) }):
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
