package blockstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// RestoreReport says what going back to a checkpoint would do, or did.
type RestoreReport struct {
	Checkpoint CheckpointInfo `json:"checkpoint,omitzero"`
	// Dump describes the dump that was read instead of a checkpoint.
	Dump *DumpInfo `json:"dump,omitempty"`
	// Present is the sequence of the newest commit known durable: how far the
	// metadata that is replaced went.
	Present uint64 `json:"present"`
	// PresentError says why that metadata cannot be read, so that Lost,
	// Returned and Written are not known.
	PresentError string `json:"presentError,omitempty"`
	// Lost names what was made since and would be gone, Returned what was
	// deleted since and would come back, Written the volumes that were written
	// to since: they would keep what was overwritten, and lose the blocks that
	// were first written since.
	Lost     []string `json:"lost,omitempty"`
	Returned []string `json:"returned,omitempty"`
	Written  []string `json:"written,omitempty"`
	// Missing is the data that the checkpoint names and that is not there any
	// more, since it was reclaimed.
	Missing []MissingData `json:"missing,omitempty"`
	// Strays are layers that the checkpoint does not know. They are kept.
	Strays []string `json:"strays,omitempty"`
	// Done tells that the checkpoint is the metadata now; Aside is where what it
	// replaced is kept: the metadata, the strays, the intent rings.
	Done  bool   `json:"done"`
	Aside string `json:"aside,omitempty"`
}

// MissingData is what is gone of a disk.
type MissingData struct {
	Disk   string  `json:"disk"`
	Bytes  int64   `json:"bytes"`
	Ranges []Range `json:"ranges"`
	More   int     `json:"more,omitempty"` // ranges left off
}

// RestoreRequest says how far RestoreCheckpoint shall go.
type RestoreRequest struct {
	Checkpoint    string // its name, or "latest"
	Apply         bool   // without it nothing changes
	AcceptMissing bool   // missing data reads as zero from then on
}

// RestoreCheckpoint replaces the metadata of a store that nobody has open by a
// checkpoint of it. What is replaced is kept aside, and no data is deleted. All
// volumes get a new epoch. Without Apply it only says what would happen.
//
// It may be cut off at any point: whoever opens the store next finishes it, or
// finds the old metadata (restoreplan.go).
//
// Errors: ErrLocked, ErrNotFound, ErrCorrupt (the checkpoint is damaged),
// ErrInvalid (data is missing, and that was not accepted; the report says which).
func RestoreCheckpoint(ctx context.Context, dir string, o Options, req RestoreRequest) (RestoreReport, error) {
	s, err := openOffline(dir, o)
	if err != nil {
		return RestoreReport{}, err
	}
	report, err := s.restore(ctx, req)
	return report, errors.Join(err, s.close())
}

func (s *offline) restore(ctx context.Context, req RestoreRequest) (r RestoreReport, err error) {
	if r.Checkpoint, err = s.findCheckpoint(req.Checkpoint); err != nil {
		return r, err
	}
	if r.Present, err = s.witnessed(); err != nil {
		return r, err
	}
	path := filepath.Join(s.checkpointsDir(), r.Checkpoint.Name)
	if err := s.weigh(ctx, path, req, "checkpoint "+r.Checkpoint.Name, &r); err != nil || !req.Apply {
		return r, err
	}
	return r, s.apply(path, &r)
}

// weigh fills in what the metadata in path, which is called name, would change,
// and refuses it if too much is missing.
func (s *offline) weigh(ctx context.Context, path string, req RestoreRequest, name string, r *RestoreReport) error {
	old, err := s.view(path)
	if err != nil {
		return err
	}
	err = s.compare(ctx, old, r)
	if err = errors.Join(err, old.endView()); err != nil || !req.Apply {
		return err
	}
	if len(r.Missing) > 0 && !req.AcceptMissing {
		return errf(ErrInvalid, "data of %d disks that %s names was reclaimed since and is missing: choose a newer one, or accept that it reads as zero", len(r.Missing), name)
	}
	return nil
}

func (s *offline) findCheckpoint(name string) (CheckpointInfo, error) {
	list, err := listCheckpoints(s.fs, s.checkpointsDir())
	if err != nil {
		return CheckpointInfo{}, err
	}
	if name == "latest" && len(list) > 0 {
		return list[len(list)-1], nil
	}
	for _, c := range list {
		if c.Name == name {
			return c, nil
		}
	}
	return CheckpointInfo{}, errf(ErrNotFound, "there is no checkpoint %q in %s", name, s.checkpointsDir())
}

// compare fills in what the checkpoint, opened as old, would change.
func (s *offline) compare(ctx context.Context, old *Store, r *RestoreReport) error {
	var err error
	if r.Missing, err = old.missingData(ctx); err != nil {
		return err
	}
	if r.Strays, err = old.strayLayers(); err != nil {
		return err
	}
	now, err := s.view(s.metaDir())
	if err != nil {
		r.PresentError = err.Error()
		return nil
	}
	before, after := old.everything(), now.everything()
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if was, ok := before[name]; !ok {
			r.Lost = append(r.Lost, name)
		} else if was != after[name] {
			r.Written = append(r.Written, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[name]; !ok {
			r.Returned = append(r.Returned, name)
		}
	}
	return now.endView()
}

// everything names all that the catalogue has, and what changes when it does.
func (s *Store) everything() map[string]string {
	all := map[string]string{}
	volume := func(kind string, e *volumeEntry) {
		seq, _ := s.flushedSeq(e.lineage.id)
		all[kind+" "+e.name] = fmt.Sprint(e.rec.ID, e.tipLocked(), seq)
		for name, sn := range e.snapshots {
			all["snapshot "+e.name+"/"+name] = sn.rec.ID
		}
	}
	for name, e := range s.cat.mu.images {
		all["image "+name] = e.rec.ID
	}
	for _, e := range s.cat.mu.volumes {
		volume("volume", e)
	}
	for _, e := range s.cat.mu.retired {
		volume("retired volume", e)
	}
	return all
}

// strayLayers returns the directories of layers that no record names.
func (s *Store) strayLayers() (strays []string, err error) {
	names, err := s.fs.List(s.layersDir())
	for _, name := range names {
		var id layerID
		if n, _ := fmt.Sscanf(name, "%016x-%08x", &id.lineage, &id.version); n != 2 || layerDir(id) != name || !s.cat.knowsLocked(id) {
			strays = append(strays, name)
		}
	}
	slices.Sort(strays)
	return strays, err
}

// freshMeta is where metadata is made ready to take its place.
func (s *offline) freshMeta() string { return filepath.Join(s.dir, "meta.restoring") }

// apply makes a copy of the checkpoint the metadata.
func (s *offline) apply(checkpoint string, r *RestoreReport) (err error) {
	fresh := s.freshMeta()
	if err := s.copyMeta(checkpoint, fresh); err != nil {
		return err
	}
	return s.install(fresh, "the metadata was restored from checkpoint "+r.Checkpoint.Name, r.Checkpoint.Sequence, r)
}

// install makes fresh, which goes to commit seq, the metadata. Everything is
// ready before its plan is made, and from then on it will be (restoreplan.go).
func (s *offline) install(fresh, cause string, seq uint64, r *RestoreReport) (err error) {
	if err := s.write(fresh, restartedFor(cause), max(r.Present, seq)+1); err != nil {
		return err
	}
	p := newRestorePlan(cause, r.Strays, r.Present)
	r.Aside = filepath.Join(s.dir, p.Aside)
	if err := s.carryOut(p); err != nil {
		return err
	}
	r.Done = true
	return nil
}

// replaceMeta moves the metadata, layers and all intent rings aside, and puts
// the fresh metadata in its place.
func (s *offline) replaceMeta(fresh, aside string, layers []string) error {
	if err := s.move(s.metaDir(), aside); err != nil {
		return err
	}
	for _, name := range layers {
		if err := s.move(filepath.Join(s.layersDir(), name), filepath.Join(aside, "layers")); err != nil {
			return err
		}
	}
	rings, err := s.fs.List(filepath.Dir(s.ringPath(0)))
	if err != nil {
		return err
	}
	for _, name := range rings {
		if err := s.move(filepath.Join(s.dir, "rings", name), filepath.Join(aside, "rings")); err != nil {
			return err
		}
	}
	if err := errors.Join(s.fs.SyncDir(s.layersDir()), s.fs.SyncDir(filepath.Join(s.dir, "rings"))); err != nil {
		return err
	}
	return errors.Join(s.fs.Rename(fresh, s.metaDir()), s.fs.SyncDir(s.dir))
}

// copyMeta copies a checkpoint; tables, which never change, by links.
func (s *offline) copyMeta(from, to string) error {
	fs := s.fs.Pebble()
	if err := errors.Join(s.fs.RemoveAll(to), s.fs.Mkdir(to)); err != nil {
		return err
	}
	names, err := fs.List(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		put := vfs.Copy
		if filepath.Ext(name) == ".sst" {
			put = vfs.LinkOrCopy
		}
		if name == "LOCK" {
			continue
		}
		if err := put(fs, filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return errors.Join(s.fs.SyncDir(to), s.fs.SyncDir(filepath.Dir(to)))
}

func restartedFor(cause string) func(*Store, *pebble.Batch) error {
	return func(v *Store, b *pebble.Batch) error { return restarted(v, b, cause) }
}

// restarted has every volume begin an epoch, and none open: their rings belong
// to other metadata.
func restarted(v *Store, b *pebble.Batch, cause string) error {
	err := scanJSON(v, prefixVolume, func(name string, rec volumeRecord) error {
		rec.raise(cause)
		putJSON(b, nameKey(prefixVolume, name), rec)
		return nil
	})
	if err != nil {
		return err
	}
	err = scanJSON(v, prefixRetired, func(id string, rec retiredRecord) error {
		rec.Volume.raise(cause)
		putJSON(b, nameKey(prefixRetired, id), rec)
		return nil
	})
	return errors.Join(err, b.DeleteRange([]byte{prefixOpen}, []byte{prefixOpen + 1}, nil))
}
