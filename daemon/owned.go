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
// the record of a retired one is retired at the next start.
func (b *backend) RestoreVolume(ctx context.Context, idOrName, as, requestID string) (blockstore.VolumeInfo, error) {
	if err := b.forgetRetired(ctx, b.retiredName(ctx, idOrName)); err != nil {
		return blockstore.VolumeInfo{}, err
	}
	return b.Store.RestoreVolume(ctx, idOrName, as, requestID)
}

// RemoveRetired removes a deleted volume for good.
func (b *backend) RemoveRetired(ctx context.Context, idOrName, requestID string) error {
	name := b.retiredName(ctx, idOrName)
	if err := b.Store.RemoveRetired(ctx, idOrName, requestID); err != nil {
		return err
	}
	return b.forgetRetired(ctx, name)
}

// retiredName is the name of a retired volume, or what was asked for.
func (b *backend) retiredName(ctx context.Context, idOrName string) string {
	list, err := b.RetiredVolumes(ctx)
	if err != nil {
		return idOrName
	}
	for _, v := range list {
		if v.ID == idOrName {
			return v.Name
		}
	}
	return idOrName
}

// forgetRetired removes the record of a profile's volume that is retired no more.
func (b *backend) forgetRetired(ctx context.Context, name string) error {
	if has, err := b.d.hasLifecycle(); err != nil || !has {
		return err
	}
	s, _, err := b.d.life(ctx)
	if err != nil {
		return err
	}
	return s.Update(ctx, store.Cause{Who: "api", Why: "volume " + name + " is retired no more"}, func(tx *store.Tx) error {
		res, err := tx.ByName(model.OSVolumes, name)
		if errors.Is(err, store.ErrNotFound) || err == nil && !res.(*model.OSVolume).IsRetired() {
			return nil
		}
		if err != nil {
			return err
		}
		return tx.Delete(res.Head().URI, res.Head().ETag)
	})
}
