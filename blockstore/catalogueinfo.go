package blockstore

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// Images lists the golden images by name.
func (s *Store) Images(context.Context) ([]ImageInfo, error) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	list := make([]ImageInfo, 0, len(s.cat.mu.images))
	for _, e := range s.cat.mu.images {
		list = append(list, e.info())
	}
	slices.SortFunc(list, func(a, b ImageInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Image describes one golden image. Error: ErrNotFound.
func (s *Store) Image(_ context.Context, name string) (ImageInfo, error) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	e, err := s.cat.imageLocked(name)
	if err != nil {
		return ImageInfo{}, err
	}
	return e.info(), nil
}

// info describes the image; catalogue.mu is held.
func (e *imageEntry) info() ImageInfo {
	return ImageInfo{
		Name: e.name, ID: e.rec.ID, Size: e.rec.Size, Created: e.rec.Created,
		ContentID: cmp.Or(e.rec.ContentID, e.version.digests.content), SHA256: cmp.Or(e.rec.SHA256, e.version.digests.raw), Format: e.rec.Format,
		Allocated: e.rec.Allocated, Owner: e.rec.Owner,
		Clones: e.version.children,
	}
}

// Volumes lists the OS volumes by name.
func (s *Store) Volumes(context.Context) ([]VolumeInfo, error) {
	s.cat.mu.Lock()
	entries := make([]*volumeEntry, 0, len(s.cat.mu.volumes))
	for _, e := range s.cat.mu.volumes {
		entries = append(entries, e)
	}
	s.cat.mu.Unlock()
	slices.SortFunc(entries, func(a, b *volumeEntry) int { return strings.Compare(a.name, b.name) })
	list := make([]VolumeInfo, 0, len(entries))
	for _, e := range entries {
		info, err := s.volumeInfo(e)
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}

// Volume describes one OS volume. Error: ErrNotFound.
func (s *Store) Volume(ctx context.Context, name string) (VolumeInfo, error) {
	s.cat.mu.Lock()
	e, err := s.cat.volumeLocked(name)
	s.cat.mu.Unlock()
	if err != nil {
		return VolumeInfo{}, err
	}
	info, err := s.volumeInfo(e)
	if err == nil && info.Failure != nil {
		err = s.nameRanges(ctx, &info, e)
	}
	return info, err
}

func (s *Store) volumeInfo(e *volumeEntry) (VolumeInfo, error) {
	s.cat.mu.Lock()
	info := e.infoLocked()
	tip := e.tipLocked()
	info.Failure = s.cat.mu.failures[tip.lineage].info()
	s.cat.mu.Unlock()
	var err error
	info.Allocated, err = s.layer(tip).allocated()
	return info, err
}

// tipLocked is the layer that the volume writes to.
func (e *volumeEntry) tipLocked() layerID { return layerID{e.lineage.id, e.lineage.tip().number} }

func (e *volumeEntry) infoLocked() VolumeInfo {
	return VolumeInfo{
		Name: e.name, ID: e.rec.ID, Size: e.lineage.tip().rec.Size, Created: e.rec.Created,
		Image: e.rec.Image, ImageID: e.rec.ImageID, Owner: e.rec.Owner, Epoch: e.rec.Epoch, EpochSince: e.rec.EpochSince, EpochCause: e.rec.EpochCause, OldAccepted: e.rec.OldAccepted, Quota: e.rec.Quota, Open: e.users,
		Snapshots: len(e.snapshots),
	}
}
