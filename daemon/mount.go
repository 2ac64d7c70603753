package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/fuse"
)

const (
	// mountPatience is how long a mount for writing waits for glances that other
	// commands take at the volume, and for a mount that ends.
	mountPatience = time.Second
	mountPoll     = 20 * time.Millisecond
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
	wait, cancel := context.WithTimeout(ctx, mountPatience)
	defer cancel()
	if err := m.barred(wait, volume); err != nil {
		return err
	}
	if err := m.unused(wait, volume); err != nil {
		return err
	}
	disk, err := m.b.OpenVolume(ctx, volume)
	if err == nil {
		m.writable[volume] = disk
	}
	return err
}

// barred keeps NBD clients and other mounts off the volume.
func (m *mount) barred(ctx context.Context, volume string) error {
	return m.poll(ctx, func() (bool, error) {
		lift, ok := m.b.d.exports.barAlone(volume)
		if ok {
			m.lifts = append(m.lifts, lift)
		}
		return ok, nil
	}, fmt.Errorf("volume %q is mounted for writing already, or being rolled back or mended: %w", volume, blockstore.ErrInUse))
}

// unused waits until nobody has the volume open any more.
func (m *mount) unused(ctx context.Context, volume string) error {
	return m.poll(ctx, func() (bool, error) {
		info, err := m.b.Volume(ctx, volume)
		return info.Open == 0, err
	}, fmt.Errorf("volume %q is in service, and what is mounted on it has one writer: disconnect its clients, which 'goldstream connections' lists, or mount a clone: %w", volume, blockstore.ErrInUse))
}

// poll asks until ok, an error or the end of ctx, which is late.
func (m *mount) poll(ctx context.Context, ask func() (ok bool, err error), late error) error {
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return late
		case <-time.After(mountPoll):
		}
	}
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
