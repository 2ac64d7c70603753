package daemon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"goldstream/blockstore"
)

// A volume that is mounted for reading is seen through a snapshot, so that it does
// not change under its reader: one for each volume, made when its first file is
// opened and deleted when the last is closed. 'snapshot list' and 'space' show it
// under its name and owner.
const (
	viewOwner  = "goldstream mount"
	viewPrefix = "mounted-"
)

// views are the snapshots through which volumes are read, by the volume's id.
type views struct {
	store *blockstore.Store
	log   *slog.Logger
	mu    struct {
		sync.Mutex
		byID map[string]*view
	}
}

// view is one of them. It is made and given up under its turn, a semaphore.
type view struct {
	of     *views
	volume blockstore.VolumeInfo
	refs   int // guarded by views.mu; who has it, or waits for its turn
	turn   chan struct{}

	// Guarded by turn.
	users    int
	snapshot string
	disk     *blockstore.Disk // nil: there is no snapshot
}

func newViews(store *blockstore.Store, log *slog.Logger) *views {
	v := &views{store: store, log: log}
	v.mu.byID = map[string]*view{}
	return v
}

// open opens the volume's view, making it if there is none.
func (vs *views) open(ctx context.Context, name string) (*viewDisk, error) {
	info, err := vs.store.Volume(ctx, name)
	if err != nil {
		return nil, err
	}
	v := vs.hold(info)
	if err := v.take(ctx); err != nil {
		vs.drop(v)
		return nil, err
	}
	if v.disk == nil {
		if err := v.make(ctx); err != nil {
			v.give()
			vs.drop(v)
			return nil, err
		}
	}
	v.users++
	v.give()
	return &viewDisk{Disk: v.disk, v: v}, nil
}

func (vs *views) hold(info blockstore.VolumeInfo) *view {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.mu.byID[info.ID]
	if v == nil {
		v = &view{of: vs, volume: info, turn: make(chan struct{}, 1)}
		vs.mu.byID[info.ID] = v
	}
	v.refs++
	return v
}

func (vs *views) drop(v *view) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v.refs--; v.refs == 0 {
		delete(vs.mu.byID, v.volume.ID)
	}
}

func (v *view) take(ctx context.Context) error {
	select {
	case v.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *view) give() { <-v.turn }

func (v *view) make(ctx context.Context) error {
	name, err := viewName()
	if err != nil {
		return err
	}
	store := v.of.store
	if _, err := store.CreateSnapshot(ctx, v.volume.Name, blockstore.SnapshotRequest{Name: name, Owner: viewOwner}); err != nil {
		return fmt.Errorf("volume %q cannot be seen as of now: %w", v.volume.Name, err)
	}
	disk, err := store.OpenSnapshot(ctx, v.volume.Name, name)
	if err != nil {
		return errors.Join(err, v.delete(name))
	}
	v.disk, v.snapshot = disk, name
	return nil
}

// viewName is one that no volume has, which may since be another one of the name.
func viewName() (string, error) {
	var b [6]byte
	_, err := rand.Read(b[:])
	return viewPrefix + hex.EncodeToString(b[:]), err
}

// delete deletes the snapshot, which the operator or the volume's end may have
// done before. The volume may have been retired since, or come back from that
// under another name.
func (v *view) delete(name string) error {
	err := v.of.store.DropSnapshot(context.Background(), v.volume.ID, name)
	if errors.Is(err, blockstore.ErrNotFound) {
		return nil
	}
	return err
}

// viewDisk is a handle on a view.
type viewDisk struct {
	*blockstore.Disk
	v    *view
	once sync.Once
}

// Close gives the snapshot up with the last handle.
func (d *viewDisk) Close() (err error) {
	d.once.Do(func() { err = d.v.release() })
	return err
}

func (v *view) release() error {
	_ = v.take(context.Background())
	defer v.of.drop(v)
	defer v.give()
	if v.users--; v.users > 0 {
		return nil
	}
	err := v.disk.Close()
	v.disk = nil
	return errors.Join(err, v.delete(v.snapshot))
}

// size is that of the view of a volume, if there is one: what its files have that
// are open, and the next one that is opened meanwhile.
func (vs *views) size(id string) (int64, bool) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.mu.byID[id]
	if v == nil {
		return 0, false
	}
	select {
	case v.turn <- struct{}{}:
		defer v.give()
	default: // it comes or goes
		return 0, false
	}
	if v.disk == nil {
		return 0, false
	}
	return v.disk.Size(), true
}

// forget deletes the snapshots that a kill left. Nothing else may use the store
// yet.
func (vs *views) forget(ctx context.Context) error {
	for _, sn := range vs.store.SnapshotsOwnedBy(ctx, viewOwner) {
		if !strings.HasPrefix(sn.Name, viewPrefix) {
			continue
		}
		// A store that cannot commit now, for it is full, is served all the same.
		if err := vs.store.DropSnapshot(ctx, sn.VolumeID, sn.Name); err != nil {
			vs.log.Warn("a snapshot of a mount is left", "volume", sn.VolumeID, "snapshot", sn.Name, "error", err)
		}
	}
	return nil
}
