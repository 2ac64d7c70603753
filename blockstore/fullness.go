package blockstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// SpaceInfo says how full a store is. Sizes are in bytes.
type SpaceInfo struct {
	State string `json:"state"` // SpaceOK, SpaceLow or SpaceFull
	// Of the host's file system: what it holds in all, as far as others than
	// root may use it, what of it is free, what first writes leave alone,
	// and below what new volumes and images are refused.
	Total       int64 `json:"total"`
	Free        int64 `json:"free"`
	Reserve     int64 `json:"reserve"`
	RefuseBelow int64 `json:"refuseBelow"`
	// Ballast is what is given up when metadata finds no space; 0: it was,
	// or there is none.
	Ballast   int64 `json:"ballast"`
	Allocated int64 `json:"allocated"` // by the data of images and volumes
	Metadata  int64 `json:"metadata"`
	// Provisioned is what the volumes could grow to, and Overcommit that by
	// Total: above 1 they cannot all do so.
	Provisioned int64   `json:"provisioned"`
	Overcommit  float64 `json:"overcommit"`
	Stalled     int     `json:"stalled"` // writes that wait for space or a quota
	// MetadataWaits says that flushes and deletes wait for space too.
	MetadataWaits bool `json:"metadataWaits"`
}

// Space tells how full the store and its file system are. It looks at every
// file of the store.
func (s *Store) Space(context.Context) (SpaceInfo, error) {
	free, total, l, err := s.space.host()
	if err != nil {
		return SpaceInfo{}, err
	}
	info := SpaceInfo{
		State: s.space.stateOf(free, l), Total: total, Free: free, Reserve: l.reserve, RefuseBelow: l.floor,
		Ballast: s.space.ballastNow(), Provisioned: s.cat.provisioned(),
		Stalled: int(s.space.waiters.Load()), MetadataWaits: s.space.metaWaits.Load() > 0,
	}
	if total > 0 {
		info.Overcommit = float64(info.Provisioned) / float64(total)
	}
	if info.MetadataWaits {
		info.State = SpaceFull
	}
	layers, err := s.fs.List(s.layersDir())
	if err != nil {
		return info, err
	}
	for _, name := range layers {
		n, err := allocatedIn(s.fs, filepath.Join(s.layersDir(), name))
		if err != nil {
			return info, err
		}
		info.Allocated += n
	}
	info.Metadata, err = allocatedIn(s.fs, s.metaDir())
	return info, err
}

// provisioned adds up the sizes of all volumes.
func (c *catalogue) provisioned() (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.mu.volumes {
		n += e.lineage.tip().rec.Size
	}
	return n
}

// allocatedIn returns the bytes that the files of a directory take on the
// host's disk. They may come and go meanwhile.
func allocatedIn(fs hostFS, dir string) (total int64, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		f, err := fs.Open(filepath.Join(dir, name), false)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		n, err := f.Allocated()
		if err := errors.Join(err, f.Close()); err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}
