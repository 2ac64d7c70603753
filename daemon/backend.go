package daemon

import (
	"context"
	"os"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/nbd"
)

// backend is the store as the API wants it. Most of it is the store's own
// methods.
type backend struct {
	*blockstore.Store
	d   *Daemon
	nbd []string // URIs that serve the store
	// clients is the NBD server, nil where there is none.
	clients *nbd.Server
	// fence cuts NBD clients off a volume and keeps them off until lift is
	// called; nil where there is no NBD server.
	fence fenceFunc
	// stopping ends when the daemon begins to stop, for what has no end of its own.
	stopping context.Context
}

var _ v1.Backend = (*backend)(nil)

// OpenImage opens a golden image for an export to a file.
func (b *backend) OpenImage(ctx context.Context, name string) (v1.Disk, error) {
	disk, err := b.Store.OpenImage(ctx, name)
	if err != nil {
		return nil, err
	}
	return disk, nil
}

// OpenSnapshot opens a snapshot for an export to a file.
func (b *backend) OpenSnapshot(ctx context.Context, volume, name string) (v1.Disk, error) {
	disk, err := b.Store.OpenSnapshot(ctx, volume, name)
	if err != nil {
		return nil, err
	}
	return disk, nil
}

// Status tells what the daemon holds.
func (b *backend) Status(ctx context.Context) (v1.Status, error) {
	images, err := b.Images(ctx)
	if err != nil {
		return v1.Status{}, err
	}
	volumes, err := b.Volumes(ctx)
	if err != nil {
		return v1.Status{}, err
	}
	space, err := b.Space(ctx)
	return v1.Status{
		PID:     os.Getpid(),
		Started: b.d.started,
		Data:    b.d.dir,
		NBD:     b.nbd,
		Images:  len(images),
		Volumes: len(volumes),
		Free:    space.Free,
		Total:   space.Total,
		Space:   space,
	}, err
}
