package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"

	"goldstream/blockstore"
	"goldstream/nbd"
)

// The prefixes begin the export names of golden images and of snapshots, which
// are snapshots/VOLUME/NAME. No name holds a slash.
const (
	imagePrefix    = "images/"
	snapshotPrefix = "snapshots/"
)

// epochMark stands in an export name between a volume and the epoch for which
// the client started: NAME~EPOCH. Only that one, or a newer start, is let on. A
// plain NAME is a client that starts now. No name holds the mark.
const epochMark = "~"

// diskOf is the volume, image or snapshot behind an export name.
func diskOf(export string) string {
	volume, _, _ := strings.Cut(export, epochMark)
	return volume
}

// exports is the store as the NBD server wants it.
type exports struct {
	store *blockstore.Store
	// openVolume is the store's; tests come in between.
	openVolume func(ctx context.Context, name string) (*blockstore.Disk, error)
	mu         struct {
		sync.Mutex
		barred map[string]int  // volumes that nobody may open now
		closed map[string]bool // volumes that wait for a server
	}
}

func newExports(store *blockstore.Store) *exports {
	e := &exports{store: store, openVolume: store.OpenVolume}
	e.mu.barred, e.mu.closed = map[string]int{}, map[string]bool{}
	return e
}

// close keeps clients from opening a volume until it is opened to them again, or
// takes that back. Who has it open is not cut off.
func (e *exports) close(volume string, closed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if closed {
		e.mu.closed[volume] = true
	} else {
		delete(e.mu.closed, volume)
	}
}

func (e *exports) isClosed(volume string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.closed[volume]
}

// bar keeps everybody from opening a volume until lift is called.
func (e *exports) bar(volume string) (lift func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.barred[volume]++
	return func() { e.unbar(volume) }
}

func (e *exports) unbar(volume string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.barred[volume]--; e.mu.barred[volume] == 0 {
		delete(e.mu.barred, volume)
	}
}

// barAlone is bar, but only if nobody has barred the volume.
func (e *exports) barAlone(volume string) (lift func(), ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.barred[volume] > 0 {
		return nil, false
	}
	e.mu.barred[volume]++
	return func() { e.unbar(volume) }, true
}

func (e *exports) isBarred(volume string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.barred[volume] > 0
}

// Open opens a volume, or a golden image or snapshot read-only.
func (e *exports) Open(ctx context.Context, name string) (nbd.Device, error) {
	disk, err := e.open(ctx, name)
	if errors.Is(err, blockstore.ErrNotFound) {
		return nil, fmt.Errorf("%w (%w)", err, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return disk, nil
}

func (e *exports) open(ctx context.Context, name string) (*blockstore.Disk, error) {
	if image, ok := strings.CutPrefix(name, imagePrefix); ok {
		return e.store.OpenImage(ctx, image)
	}
	if path, ok := strings.CutPrefix(name, snapshotPrefix); ok {
		volume, snapshot, _ := strings.Cut(path, "/")
		return e.store.OpenSnapshot(ctx, volume, snapshot)
	}
	volume, epoch, started := strings.Cut(name, epochMark)
	disk, err := e.openUnbarred(ctx, volume)
	if err != nil || !started {
		return disk, err
	}
	if err := checkEpoch(disk, epoch); err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return disk, nil
}

// openUnbarred opens a volume that is not barred, before and after: whoever bars it
// then looks whether somebody has it open, and one of the two sees the other.
func (e *exports) openUnbarred(ctx context.Context, volume string) (*blockstore.Disk, error) {
	barred := fmt.Errorf("volume %q is being rolled back, mended or written through a mount: %w", volume, blockstore.ErrInUse)
	if e.isBarred(volume) {
		return nil, barred
	}
	if e.isClosed(volume) {
		return nil, &nbd.Refusal{Reason: fmt.Sprintf("the export of volume %q is closed: its server profile is on no server that may use it", volume)}
	}
	disk, err := e.openVolume(ctx, volume)
	if err != nil {
		return nil, err
	}
	if e.isBarred(volume) || e.isClosed(volume) {
		return nil, errors.Join(barred, disk.Close())
	}
	return disk, nil
}

// checkEpoch lets a client on that started for an epoch.
func checkEpoch(disk *blockstore.Disk, text string) error {
	epoch, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return &nbd.Refusal{Reason: fmt.Sprintf("%.30q is no epoch: write VOLUME~NUMBER, or the volume's name alone", text)}
	}
	if err := disk.CheckEpoch(epoch); err != nil {
		return &nbd.Refusal{Reason: err.Error()}
	}
	return nil
}

// readOnly tells that the store is open for reading only.
func (e *exports) readOnly() bool { return errors.Is(e.store.Changeable(), blockstore.ErrReadOnly) }

// List names every volume, then every golden image, then every snapshot.
func (e *exports) List(ctx context.Context) ([]nbd.ExportInfo, error) {
	volumes, err := e.store.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	images, err := e.store.Images(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]nbd.ExportInfo, 0, len(volumes)+len(images))
	for _, v := range volumes {
		list = append(list, nbd.ExportInfo{Name: v.Name, Description: origin(v), Size: v.Size, ReadOnly: e.readOnly()})
	}
	for _, i := range images {
		list = append(list, nbd.ExportInfo{Name: imagePrefix + i.Name, Description: describeImage, Size: i.Size, ReadOnly: true})
	}
	for _, v := range volumes {
		snapshots, err := e.store.Snapshots(ctx, v.Name)
		if err != nil && !errors.Is(err, blockstore.ErrNotFound) { // gone meanwhile
			return nil, err
		}
		for _, sn := range snapshots {
			list = append(list, nbd.ExportInfo{
				Name: snapshotPrefix + v.Name + "/" + sn.Name, Description: describeSnapshot(v.Name), Size: sn.Size, ReadOnly: true,
			})
		}
	}
	return list, nil
}

// Describe is List's description of one export.
func (e *exports) Describe(ctx context.Context, export string) (string, error) {
	if strings.HasPrefix(export, imagePrefix) {
		return describeImage, nil
	}
	if path, ok := strings.CutPrefix(export, snapshotPrefix); ok {
		volume, _, _ := strings.Cut(path, "/")
		return describeSnapshot(volume), nil
	}
	v, err := e.store.Volume(ctx, diskOf(export))
	return origin(v), err
}

const describeImage = "golden image"

func describeSnapshot(volume string) string { return "snapshot of " + volume }

func origin(v blockstore.VolumeInfo) string {
	if v.Image == "" {
		return "OS volume"
	}
	return "OS volume from " + v.Image
}
