package daemon

import (
	"context"
	"errors"
	"fmt"

	"goldstream/blockstore"
	"goldstream/nbd"
)

type fenceFunc func(ctx context.Context, volume string) (lift func(), err error)

// fence returns the fenceFunc of a server of exports.
func fence(e *exports, srv *nbd.Server) fenceFunc {
	return func(ctx context.Context, volume string) (lift func(), err error) {
		lift = e.bar(volume) // first: who is cut off connects again at once
		if err := srv.Fence(ctx, volume); err != nil {
			lift()
			return nil, err
		}
		return lift, nil
	}
}

// RollBack rolls a volume back.
func (b *backend) RollBack(ctx context.Context, volume, snapshot string, disconnect bool, req blockstore.SnapshotRequest) (kept blockstore.SnapshotInfo, err error) {
	err = b.unused(ctx, volume, disconnect, func() error {
		kept, err = b.Store.RollBack(ctx, volume, snapshot, req)
		return err
	})
	return kept, err
}

// AcceptLoss makes a volume usable again that failed.
func (b *backend) AcceptLoss(ctx context.Context, volume string, disconnect bool, requestID string) (info blockstore.VolumeInfo, err error) {
	err = b.unused(ctx, volume, disconnect, func() error {
		info, err = b.Store.AcceptLoss(ctx, volume, requestID)
		return err
	})
	return info, err
}

// unused does what no client may have the volume open for. With disconnect
// clients are cut off, but only if they are what it fails for: a wrong name, or
// a request that was done before, disturbs nobody.
func (b *backend) unused(ctx context.Context, volume string, disconnect bool, do func() error) error {
	err := do()
	if !disconnect || b.fence == nil || !errors.Is(err, blockstore.ErrInUse) {
		return err
	}
	lift, err := b.fence(ctx, volume)
	if err != nil {
		return fmt.Errorf("the clients of volume %q are not all gone: %w", volume, err)
	}
	defer lift()
	err = do()
	if errors.Is(err, blockstore.ErrInUse) {
		err = fmt.Errorf("the NBD clients are cut off, but another command still reads the volume; try again when it is done: %w", err)
	}
	return err
}
