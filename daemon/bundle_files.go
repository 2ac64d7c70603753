package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/personalize/bundle"
)

// Files of bundles are DATA/bundles/ID.zip, ID being that of the record's URI. A
// file is there, complete and durable, before its record is, and goes after it. What a
// kill leaves without a record the next open puts into DATA/bundles/lost, where nothing
// removes it: the store may have been restored from a backup that is older.

const (
	bundleExt     = ".zip"
	partialBundle = ".partial-"
)

func (d *Daemon) bundlesDir() string { return filepath.Join(d.dir, "bundles") }

func (d *Daemon) bundlePath(uri model.URI) string {
	return filepath.Join(d.bundlesDir(), uri.ID()+bundleExt)
}

// bundleFile is a bundle on its way into the directory.
type bundleFile struct {
	*os.File
	d *Daemon
}

func (d *Daemon) newBundleFile() (*bundleFile, error) {
	if err := os.MkdirAll(d.bundlesDir(), 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(d.bundlesDir(), partialBundle)
	return &bundleFile{f, d}, err
}

// drop removes the file unless it was kept.
func (f *bundleFile) drop() {
	f.Close()
	if err := os.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.d.log.Warn("a bundle that was not kept is left until the next start", "file", f.Name(), "error", err)
	}
}

// read checks the file, and describes it.
func (f *bundleFile) read() (*model.ArtifactBundle, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(f, size)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(f, 0, size)); err != nil {
		return nil, err
	}
	return &model.ArtifactBundle{
		Meta: model.Meta{Name: b.Name, Description: b.Description}, Size: size, SHA256: hex.EncodeToString(hash.Sum(nil)),
		ReadOnly: b.ReadOnly, Made: b.Time, Artifacts: contents(b), Warnings: b.Warnings,
	}, nil
}

// keep makes the file durable at its place.
func (f *bundleFile) keep(uri model.URI) error {
	err := f.Sync()
	if err == nil {
		err = os.Rename(f.Name(), f.d.bundlePath(uri))
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(f.d.bundlesDir())
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// contents lists what is in a bundle.
func contents(b *bundle.Bundle) []model.BundleArtifact {
	list := []model.BundleArtifact{}
	for _, a := range b.Artifacts() {
		list = append(list, model.BundleArtifact{Kind: model.Kind(a.Collection), ID: a.ID, Name: a.Name, Description: a.Description, ReadOnly: a.ReadOnly, Uses: a.Uses})
	}
	return list
}

// sweepBundles removes what was never complete, and puts files without a record aside.
func (d *Daemon) sweepBundles(ctx context.Context, s *store.Store) error {
	list, err := os.ReadDir(d.bundlesDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.View(ctx, func(r *store.Reader) error {
		var errs []error
		for _, e := range list {
			errs = append(errs, d.sweepBundle(r, e))
		}
		return errors.Join(errs...)
	})
}

func (d *Daemon) sweepBundle(r *store.Reader, e fs.DirEntry) error {
	path := filepath.Join(d.bundlesDir(), e.Name())
	if strings.HasPrefix(e.Name(), partialBundle) {
		return os.Remove(path)
	}
	id, named := strings.CutSuffix(e.Name(), bundleExt)
	uri := model.URIOf(model.ArtifactBundles, id)
	if !named || uri == "" || !e.Type().IsRegular() {
		return nil // somebody else's
	}
	if _, err := r.Get(uri); !errors.Is(err, store.ErrNotFound) {
		return nil // there, or damaged
	}
	lost := filepath.Join(d.bundlesDir(), "lost")
	if err := os.MkdirAll(lost, 0o700); err != nil {
		return err
	}
	d.log.Warn("an artifact bundle has no record: it is put aside, and can be imported again", "file", filepath.Join(lost, e.Name()))
	return os.Rename(path, filepath.Join(lost, e.Name()))
}

// openBundleFile opens the file of a record. What is in it was checked before, and
// may be another's work by now: it is checked again.
func (d *Daemon) openBundleFile(res *model.ArtifactBundle) (*os.File, error) {
	f, err := os.Open(d.bundlePath(res.URI))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the file of artifact bundle %q is gone from %s: delete the bundle and upload it again: %w", res.Name, d.bundlesDir(), store.ErrCorrupt)
	}
	return f, err
}

// openBundle opens the file of a record and what is in it. Close f after.
func (d *Daemon) openBundle(res *model.ArtifactBundle) (f *os.File, b *bundle.Bundle, err error) {
	if f, err = d.openBundleFile(res); err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		b, err = bundle.Open(f, fi.Size())
	}
	if err != nil {
		f.Close()
	}
	return f, b, err
}
