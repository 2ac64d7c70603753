package daemon

import (
	"context"
	"errors"
	"io"
	"os"

	"goldstream/api/v1"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/personalize/attribute"
)

// AddBundle keeps a bundle that is uploaded. The same file again is the same bundle.
func (b *backend) AddBundle(ctx context.Context, name string, r io.Reader, size int64) (info v1.BundleInfo, err error) {
	s, _, err := b.d.life(ctx)
	if err != nil {
		return info, err
	}
	leave, err := b.d.imports.enter(ctx, nil)
	if err != nil {
		return info, err
	}
	defer leave()
	f, err := b.d.newBundleFile()
	if err != nil {
		return info, err
	}
	defer f.drop()
	if err := (&spooling{f: f.File, r: r, dir: b.d.dir, store: b.d.store, size: size}).run(ctx); err != nil {
		return info, err
	}
	res, err := f.read()
	if err != nil {
		return info, err
	}
	if name != "" {
		res.Name = name
	}
	if res.Name == "" {
		return info, attribute.Invalid("the bundle has no name of its own: give it one")
	}
	err = b.d.keepBundle(ctx, s, f, res)
	return bundleInfo(res), err
}

// keepBundle gives a bundle its record. res becomes the one that is there, if it is
// the same.
func (d *Daemon) keepBundle(ctx context.Context, s *store.Store, f *bundleFile, res *model.ArtifactBundle) error {
	res.URI = model.NewURI(model.ArtifactBundles)
	err := s.View(ctx, func(r *store.Reader) error {
		old, err := r.ByName(model.ArtifactBundles, res.Name)
		if errors.Is(err, store.ErrNotFound) {
			return res.Validate()
		}
		if err != nil {
			return err
		}
		if there := old.(*model.ArtifactBundle); there.SHA256 == res.SHA256 {
			*res = *there
			return nil
		}
		return &v1.Error{
			Code: v1.CodeExists, Message: "there is another artifact bundle " + quoted(res.Name) + " already",
			Advice: "Give this one another name, or delete that one: what was imported from it stays.",
		}
	})
	if err != nil || res.ETag != "" {
		return err
	}
	if err := f.keep(res.URI); err != nil {
		return err
	}
	d.opts.failpoint("bundle file")
	err = s.Update(ctx, store.Cause{Who: whoOf(ctx), Why: "bundle add"}, func(tx *store.Tx) error { return tx.Create(res) })
	if err != nil {
		err = errors.Join(err, os.Remove(d.bundlePath(res.URI)))
	}
	return err
}

func quoted(name string) string { return `"` + name + `"` }

// Bundles lists the bundles.
func (b *backend) Bundles(ctx context.Context) (list []v1.BundleInfo, err error) {
	err = b.view(ctx, func(r *store.Reader) error {
		return r.Each(model.ArtifactBundles, func(res model.Resource) error {
			info := bundleInfo(res.(*model.ArtifactBundle))
			info.Artifacts, info.Warnings = nil, nil
			list = append(list, info)
			return nil
		})
	})
	return list, err
}

func (b *backend) bundle(ctx context.Context, name string) (res *model.ArtifactBundle, err error) {
	err = b.view(ctx, func(r *store.Reader) error {
		found, err := find(r, model.ArtifactBundles, name)
		if err == nil {
			res = found.(*model.ArtifactBundle)
		}
		return err
	})
	return res, err
}

// Bundle describes one bundle.
func (b *backend) Bundle(ctx context.Context, name string) (info v1.BundleInfo, err error) {
	res, err := b.bundle(ctx, name)
	if err != nil {
		return info, err
	}
	return bundleInfo(res), nil
}

// OpenBundle opens the file of a bundle.
func (b *backend) OpenBundle(ctx context.Context, name string) (info v1.BundleInfo, _ io.ReadSeekCloser, err error) {
	res, err := b.bundle(ctx, name)
	if err != nil {
		return info, nil, err
	}
	f, err := b.d.openBundleFile(res)
	if err != nil {
		return info, nil, err
	}
	return bundleInfo(res), f, nil
}

// ChangeBundle gives a bundle another name or description. Its file stays as it is.
func (b *backend) ChangeBundle(ctx context.Context, name string, to v1.BundleChangeRequest) (info v1.BundleInfo, err error) {
	s, _, err := b.d.life(ctx)
	if err != nil {
		return info, err
	}
	var res *model.ArtifactBundle
	err = s.Update(ctx, store.Cause{Who: whoOf(ctx), Why: "bundle change"}, func(tx *store.Tx) error {
		old, err := find(&tx.Reader, model.ArtifactBundles, name)
		if err != nil {
			return err
		}
		res = old.(*model.ArtifactBundle)
		res.Name, res.Description = to.Name, to.Description
		if to.ETag != "" {
			res.ETag = to.ETag
		}
		return tx.Save(res)
	})
	if err != nil {
		return info, err
	}
	return bundleInfo(res), nil
}

// DeleteBundle deletes a bundle and its file.
func (b *backend) DeleteBundle(ctx context.Context, name string) error {
	s, _, err := b.d.life(ctx)
	if err != nil {
		return err
	}
	var uri model.URI
	err = s.Update(ctx, store.Cause{Who: whoOf(ctx), Why: "bundle delete"}, func(tx *store.Tx) error {
		old, err := find(&tx.Reader, model.ArtifactBundles, name)
		if err != nil {
			return err
		}
		uri = old.Head().URI
		return tx.Delete(uri, store.AnyETag)
	})
	if err != nil {
		return err
	}
	b.d.dropBundle(uri)
	return nil
}

// dropBundle removes the file of a bundle whose record is gone.
func (d *Daemon) dropBundle(uri model.URI) {
	d.opts.failpoint("bundle deleted")
	if err := os.Remove(d.bundlePath(uri)); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.log.Warn("the file of a deleted bundle is left until the next start", "error", err)
	}
}

func bundleInfo(res *model.ArtifactBundle) v1.BundleInfo {
	h := res.Head()
	info := v1.BundleInfo{
		Name: h.Name, URI: string(h.URI), ETag: h.ETag, Description: h.Description, Created: h.Created, Modified: h.Modified,
		ReadOnly: res.ReadOnly, Size: res.Size, SHA256: res.SHA256, Made: res.Made, Warnings: res.Warnings, Count: len(res.Artifacts),
	}
	for _, a := range res.Artifacts {
		info.Artifacts = append(info.Artifacts, v1.BundleArtifact{Kind: string(a.Kind), ID: a.ID, Name: a.Name, Description: a.Description, ReadOnly: a.ReadOnly, Uses: a.Uses})
	}
	return info
}
