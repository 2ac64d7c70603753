package daemon

import (
	"context"
	"errors"
	"time"

	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
)

// RetireVolume deletes a volume that can be restored, unless it is a profile's.
func (b *backend) RetireVolume(ctx context.Context, name string, keep time.Duration, requestID string) error {
	if err := b.guardOwned(ctx, name, "deleted"); err != nil {
		return err
	}
	return b.Store.RetireVolume(ctx, name, keep, requestID)
}

// RestoreVolume brings a deleted volume back. One that was a profile's becomes a
// volume that is nobody's. The record goes first: a volume in service that has
// the record of a retired one is retired at the next start. One that could not be
// retired yet keeps its record: it is no volume to restore.
func (b *backend) RestoreVolume(ctx context.Context, idOrName, as, requestID string) (blockstore.VolumeInfo, error) {
	if v, ok := b.retiredOf(ctx, idOrName); ok {
		if err := b.forgetRetired(ctx, v); err != nil {
			return blockstore.VolumeInfo{}, err
		}
	}
	return b.Store.RestoreVolume(ctx, idOrName, as, requestID)
}

// RemoveRetired removes a deleted volume for good.
func (b *backend) RemoveRetired(ctx context.Context, idOrName, requestID string) error {
	v, ok := b.retiredOf(ctx, idOrName)
	if err := b.Store.RemoveRetired(ctx, idOrName, requestID); err != nil || !ok {
		return err
	}
	return b.forgetRetired(ctx, v)
}

// retiredOf is the retired volume of an ID or, if it is the only one of it, a name.
func (b *backend) retiredOf(ctx context.Context, idOrName string) (v blockstore.VolumeInfo, ok bool) {
	list, err := b.RetiredVolumes(ctx)
	if err != nil {
		return v, false
	}
	var named []blockstore.VolumeInfo
	for _, r := range list {
		if r.ID == idOrName {
			return r.VolumeInfo, true
		}
		if r.Name == idOrName {
			named = append(named, r.VolumeInfo)
		}
	}
	if len(named) != 1 {
		return v, false
	}
	return named[0], true
}

// forgetRetired removes the record of a profile's volume that is retired no more.
func (b *backend) forgetRetired(ctx context.Context, v blockstore.VolumeInfo) error {
	if has, err := b.d.hasLifecycle(); err != nil || !has {
		return err
	}
	s, _, err := b.d.life(ctx)
	if err != nil {
		return err
	}
	return s.Update(ctx, store.Cause{Who: whoOf(ctx), Why: "volume " + v.Name + " is retired no more"}, func(tx *store.Tx) error {
		res, err := tx.ByName(model.OSVolumes, v.Name)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if rec := res.(*model.OSVolume); !rec.IsRetired() || !sameVolume(rec.VolumeID, v) {
			return nil
		}
		return tx.Delete(res.Head().URI, res.Head().ETag)
	})
}
