package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"goldstream/blockstore"
	"goldstream/nbd"
)

// imagePrefix begins the export name of a golden image. A volume's name holds
// no slash.
const imagePrefix = "images/"

// exports is the store as the NBD server wants it.
type exports struct{ store *blockstore.Store }

// Open opens a volume, or a golden image read-only.
func (e exports) Open(ctx context.Context, name string) (nbd.Device, error) {
	disk, err := e.open(ctx, name)
	if errors.Is(err, blockstore.ErrNotFound) {
		return nil, fmt.Errorf("%w (%w)", err, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return disk, nil
}

func (e exports) open(ctx context.Context, name string) (*blockstore.Disk, error) {
	if image, ok := strings.CutPrefix(name, imagePrefix); ok {
		return e.store.OpenImage(ctx, image)
	}
	return e.store.OpenVolume(ctx, name)
}

// List names every volume, then every golden image.
func (e exports) List(ctx context.Context) ([]nbd.ExportInfo, error) {
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
		list = append(list, nbd.ExportInfo{Name: v.Name, Description: origin(v), Size: v.Size})
	}
	for _, i := range images {
		list = append(list, nbd.ExportInfo{Name: imagePrefix + i.Name, Description: "golden image", Size: i.Size, ReadOnly: true})
	}
	return list, nil
}

func origin(v blockstore.VolumeInfo) string {
	if v.Image == "" {
		return "OS volume"
	}
	return "OS volume from " + v.Image
}
