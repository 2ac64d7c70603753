package v1

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"goldstream/blockstore"
)

// Snapshots lists the snapshots of a volume, oldest first.
func (c *Client) Snapshots(ctx context.Context, volume string) ([]blockstore.SnapshotInfo, error) {
	var l SnapshotList
	err := c.call(ctx, http.MethodGet, volumePath(volume, "/snapshots"), nil, &l)
	return l.Snapshots, err
}

// CreateSnapshot keeps what a volume holds now under a name.
func (c *Client) CreateSnapshot(ctx context.Context, volume string, req SnapshotRequest, opts ...Option) (sn blockstore.SnapshotInfo, err error) {
	err = c.call(ctx, http.MethodPost, volumePath(volume, "/snapshots"), req, &sn, opts...)
	return sn, err
}

// DeleteSnapshot deletes a snapshot. What was cloned from it stays.
func (c *Client) DeleteSnapshot(ctx context.Context, volume, name string, opts ...Option) error {
	return c.call(ctx, http.MethodDelete, snapshotPath(volume, name, ""), nil, nil, opts...)
}

// PruneSnapshots deletes the snapshots of a volume that no rule keeps.
func (c *Client) PruneSnapshots(ctx context.Context, volume string, req PruneRequest) (p Pruned, err error) {
	err = c.call(ctx, http.MethodPost, volumePath(volume, "/snapshots/prune"), req, &p)
	return p, err
}

// RollBack makes a volume read as one of its snapshots again and returns the
// snapshot that keeps what it held.
func (c *Client) RollBack(ctx context.Context, volume string, req RollbackRequest, opts ...Option) (kept blockstore.SnapshotInfo, err error) {
	err = c.call(ctx, http.MethodPost, volumePath(volume, "/rollback"), req, &kept, opts...)
	return kept, err
}

// RetireVolume deletes a volume that can be restored for as long as keep.
func (c *Client) RetireVolume(ctx context.Context, name string, keep time.Duration, opts ...Option) error {
	return c.call(ctx, http.MethodDelete, volumePath(name, "?keep="+url.QueryEscape(keep.String())), nil, nil, opts...)
}

// RetiredVolumes lists the deleted volumes that can still be restored.
func (c *Client) RetiredVolumes(ctx context.Context) ([]blockstore.RetiredVolume, error) {
	var l RetiredList
	err := c.call(ctx, http.MethodGet, "/v1/retired", nil, &l)
	return l.Retired, err
}

// RestoreVolume brings a retired volume back, named by its id or, if it is the
// only one of that name, by its name.
func (c *Client) RestoreVolume(ctx context.Context, idOrName string, req RestoreRequest, opts ...Option) (v blockstore.VolumeInfo, err error) {
	err = c.call(ctx, http.MethodPost, retiredPath(idOrName, "/restore"), req, &v, opts...)
	return v, err
}

// RemoveRetired removes a retired volume for good.
func (c *Client) RemoveRetired(ctx context.Context, idOrName string, opts ...Option) error {
	return c.call(ctx, http.MethodDelete, retiredPath(idOrName, ""), nil, nil, opts...)
}

func snapshotPath(volume, name, verb string) string {
	return volumePath(volume, "/snapshots/") + url.PathEscape(name) + verb
}

func retiredPath(idOrName, verb string) string {
	return "/v1/retired/" + url.PathEscape(idOrName) + verb
}
