package daemon

import (
	"context"
	"fmt"
	"time"

	"goldstream/blockstore"
)

const (
	// alonePatience is how long whoever wants a volume for itself waits for glances
	// that other commands take at it, and for one that had it for itself.
	alonePatience = time.Second
	alonePoll     = 20 * time.Millisecond
)

// openAlone opens a volume for writing and keeps NBD clients, mounts and deployments
// off it until lift is called.
func (d *Daemon) openAlone(ctx context.Context, volume string) (disk *blockstore.Disk, lift func(), err error) {
	wait, cancel := context.WithTimeout(ctx, alonePatience)
	defer cancel()
	if lift, err = d.barAlone(wait, volume); err != nil {
		return nil, nil, err
	}
	if err = d.unused(wait, volume); err == nil {
		disk, err = d.store.OpenVolume(ctx, volume)
	}
	if err != nil {
		lift()
		return nil, nil, err
	}
	return disk, lift, nil
}

// barAlone bars the volume once nobody else does.
func (d *Daemon) barAlone(ctx context.Context, volume string) (lift func(), err error) {
	err = poll(ctx, func() (ok bool, err error) {
		lift, ok = d.exports.barAlone(volume)
		return ok, nil
	}, fmt.Errorf("volume %q is mounted for writing already, or being deployed, rolled back or mended: %w", volume, blockstore.ErrInUse))
	return lift, err
}

// unused waits until nobody has the volume open any more.
func (d *Daemon) unused(ctx context.Context, volume string) error {
	return poll(ctx, func() (bool, error) {
		info, err := d.store.Volume(ctx, volume)
		return info.Open == 0, err
	}, fmt.Errorf("volume %q is in service, and what is mounted on it has one writer: disconnect its clients, which 'goldstream connections' lists, or mount a clone: %w", volume, blockstore.ErrInUse))
}

// poll asks until ok, an error or the end of ctx, which is late.
func poll(ctx context.Context, ask func() (ok bool, err error), late error) error {
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return late
		case <-time.After(alonePoll):
		}
	}
}
