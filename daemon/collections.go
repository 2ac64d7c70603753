package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"goldstream/blockstore"
	"goldstream/fuse"
)

// imageFiles are the golden images as a mount shows them.
type imageFiles struct{ store *blockstore.Store }

var _ fuse.Collection = imageFiles{}

func (imageFiles) Sealed() bool { return true }

func (c imageFiles) List(ctx context.Context) ([]fuse.Entry, error) {
	images, err := c.store.Images(ctx)
	list := make([]fuse.Entry, len(images))
	for i, info := range images {
		list[i] = imageEntry(info)
	}
	return list, err
}

func (c imageFiles) Entry(ctx context.Context, name string) (fuse.Entry, error) {
	info, err := c.store.Image(ctx, name)
	return imageEntry(info), fileError(err)
}

func imageEntry(i blockstore.ImageInfo) fuse.Entry {
	return fuse.Entry{Name: i.Name, ID: i.ID, Size: i.Size, Allocated: i.Allocated, Created: i.Created, Info: i}
}

func (c imageFiles) Open(ctx context.Context, name string) (fuse.Disk, error) {
	disk, err := c.store.OpenImage(ctx, name)
	if err != nil {
		return nil, fileError(err)
	}
	return disk, nil
}

func (c imageFiles) Peek(ctx context.Context, name string) (fuse.Disk, error) {
	return c.Open(ctx, name)
}

// volumeFiles are the OS volumes as a mount shows them: as they are now.
type volumeFiles struct {
	store *blockstore.Store
	views *views
}

var _ fuse.Collection = volumeFiles{}

func (volumeFiles) Sealed() bool { return false }

func (c volumeFiles) List(ctx context.Context) ([]fuse.Entry, error) {
	volumes, err := c.store.Volumes(ctx)
	list := make([]fuse.Entry, len(volumes))
	for i, info := range volumes {
		list[i] = c.entry(ctx, info)
	}
	return list, err
}

func (c volumeFiles) Entry(ctx context.Context, name string) (fuse.Entry, error) {
	info, err := c.store.Volume(ctx, name)
	if err != nil {
		return fuse.Entry{}, fileError(err)
	}
	return c.entry(ctx, info), nil
}

// entry estimates what of the volume takes room: what it holds itself, and all of
// its image.
func (c volumeFiles) entry(ctx context.Context, v blockstore.VolumeInfo) fuse.Entry {
	e := fuse.Entry{Name: v.Name, ID: v.ID, Size: v.Size, Allocated: v.Allocated, Created: v.Created, Info: v}
	if image, err := c.store.Image(ctx, v.Image); err == nil && image.ID == v.ImageID {
		e.Allocated += image.Allocated
	}
	if size, ok := c.views.size(v.ID); ok {
		e.Size = size
	}
	return e
}

func (c volumeFiles) Open(ctx context.Context, name string) (fuse.Disk, error) {
	disk, err := c.views.open(ctx, name)
	if err != nil {
		return nil, fileError(err)
	}
	return disk, nil
}

func (c volumeFiles) Peek(ctx context.Context, name string) (fuse.Disk, error) {
	disk, err := c.store.OpenVolume(ctx, name)
	if err != nil {
		return nil, fileError(err)
	}
	return disk, nil
}

// fileError adds what a file system calls it.
func fileError(err error) error {
	switch {
	case errors.Is(err, blockstore.ErrNotFound):
		return fmt.Errorf("%w (%w)", err, fs.ErrNotExist)
	case errors.Is(err, blockstore.ErrInUse):
		return fmt.Errorf("%w (%w)", err, syscall.EBUSY)
	}
	return err
}
