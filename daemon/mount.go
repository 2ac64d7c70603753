package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/fuse"
)

// mount is one mount, and the volumes that it writes.
type mount struct {
	b        *backend
	req      v1.MountRequest
	writable map[string]*blockstore.Disk
	lifts    []func()
	stuck    bool // calls have not ended: the disks stay open
}

var _ v1.Mount = (*mount)(nil)

// Mount makes a mount ready.
func (b *backend) Mount(ctx context.Context, req v1.MountRequest) (v1.Mount, error) {
	m := &mount{b: b, req: req, writable: map[string]*blockstore.Disk{}}
	slices.Sort(req.Write)
	for _, volume := range slices.Compact(req.Write) {
		if err := m.take(ctx, volume); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// take opens a volume for writing, alone: the file systems on it have one writer.
func (m *mount) take(ctx context.Context, volume string) error {
	disk, lift, err := m.b.d.openAlone(ctx, volume)
	if err == nil {
		m.writable[volume] = disk
		m.lifts = append(m.lifts, lift)
	}
	return err
}

// Serve serves the mount until it is unmounted, the client goes or the daemon
// stops.
func (m *mount) Serve(ctx context.Context, control []byte, ready func()) error {
	dev, err := fuse.DeviceIn(control)
	if err != nil {
		return &v1.Error{Code: v1.CodeInvalid, Message: err.Error()}
	}
	o := fuse.Options{
		Images:   imageFiles{m.b.Store},
		Volumes:  volumeFiles{m.b.Store, m.b.d.views},
		Writable: map[string]fuse.WritableDisk{},
		UID:      m.req.UID, GID: m.req.GID,
		Logger: m.b.d.log,
	}
	for name, disk := range m.writable {
		o.Writable[name] = disk
	}
	srv, err := fuse.Serve(dev, o)
	if err != nil {
		return err
	}
	ready()
	select {
	case <-srv.Done():
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-m.b.stopping.Done():
		err = v1.ErrStopping
	}
	stop, cancel := context.WithTimeout(context.Background(), m.b.d.opts.DrainTimeout)
	defer cancel()
	if stuck := srv.Stop(stop); stuck != nil {
		m.stuck = true
		m.b.d.log.Warn("calls on a mount that do not end are left to the end of the process")
	}
	return err
}

// Close closes the volumes, which commits what was written. Where calls are stuck
// it does nothing: they may still write, so nobody else shall.
func (m *mount) Close() (err error) {
	if m.stuck {
		return nil
	}
	for volume, disk := range m.writable {
		if e := disk.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("volume %q: what was written on the mount may not be durable: %w", volume, e))
		}
	}
	for _, lift := range m.lifts {
		lift()
	}
	return err
}
