package daemon

import (
	"context"
	"errors"
	"time"

	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
)

// opening opens volumes to the servers of their profiles.
type opening struct {
	d *Daemon
	s *store.Store
}

func (d *Daemon) opening(s *store.Store) *opening { return &opening{d, s} }

// openNew opens exports to the servers of the profiles, each with a token, and ends
// the task's work on the profiles.
func (o *opening) openNew(ctx context.Context, r *task.Run, w *work) (task.Commit[*store.Tx], error) {
	tokens := map[model.URI]string{}
	for _, m := range w.Moves {
		uri, name := m.Old, m.OldName
		switch {
		case m.getsVolume():
			uri, name = w.New.URI, w.deployInput.Name
		case !m.opensOld():
			continue
		}
		if err := o.endFormer(ctx, m.Profile, name); err != nil {
			return nil, err
		}
		secret, err := o.d.newToken(ctx, name)
		if err != nil {
			return nil, err
		}
		tokens[uri] = secret
		o.d.exports.close(name, false)
		r.Logf("export of volume %s opened", name)
	}
	id := r.ID()
	return func(tx *store.Tx) error {
		for uri, secret := range tokens {
			err := editVolume(tx, uri, func(v *model.OSVolume) {
				v.Token, v.Closed = model.NewValue("token", model.Password, secret), false
			})
			if err != nil {
				return err
			}
		}
		for _, m := range w.Moves {
			if err := restProfile(tx, m.Profile, id); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// restProfile ends a task's work on a profile, if it is there.
func restProfile(tx *store.Tx, uri model.URI, id string) error {
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
	p.Task, p.State = "", restState(p)
	return tx.Save(p)
}

// newToken makes the token by which the server of a profile opens its volume from
// the network, in the place of the one that the server before it had. Those that
// somebody made by hand, and that of the server's boot, stay.
func (d *Daemon) newToken(ctx context.Context, volume string) (string, error) {
	v, err := d.store.Volume(ctx, volume)
	if err != nil {
		return "", err
	}
	if err := d.tokens.removeOf(func(t token) bool { return t.VolumeID == v.ID && t.Profile }); err != nil {
		return "", err
	}
	secret, _, err := d.tokens.create(token{Volume: v.Name, VolumeID: v.ID, Profile: true, Created: time.Now().UTC()})
	return secret, err
}

// endFormer takes the boot of a volume from the server that had it, where that is
// another than the profile's.
func (o *opening) endFormer(ctx context.Context, profile model.URI, volume string) error {
	v, err := o.d.store.Volume(ctx, volume)
	if err != nil {
		return err
	}
	rec, has := o.d.boots.get(v.ID)
	if !has {
		return nil
	}
	var hw *model.ServerHardware
	err = o.s.View(ctx, func(r *store.Reader) error {
		res, err := r.Get(profile)
		if err != nil {
			return err
		}
		if res, err = r.Get(res.(*model.ServerProfile).Hardware); err == nil {
			hw = res.(*model.ServerHardware)
		}
		return err
	})
	if err != nil || !foreign(rec, hw) {
		return err
	}
	b := &backend{Store: o.d.store, d: o.d, clients: o.d.clients.Load()}
	if err := b.endBoot(ctx, rec); err != nil {
		return err
	}
	return o.d.boots.remove(rec)
}

// foreign tells that a boot record is that of another server. Of hardware that has no
// identity nobody knows.
func foreign(rec bootRecord, hw *model.ServerHardware) bool {
	mine := identitiesOf(hw)
	if len(mine) == 0 {
		return false
	}
	for _, key := range rec.identities() {
		if mine[key] {
			return false
		}
	}
	return true
}

// identitiesOf are the keys by which boot records know a server.
func identitiesOf(hw *model.ServerHardware) map[string]bool {
	r := bootRecord{MACs: hw.MACs, UUID: hw.UUID, Serial: hw.Serial}
	keys := map[string]bool{}
	for _, key := range r.identities() {
		keys[key] = true
	}
	return keys
}
