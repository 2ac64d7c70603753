package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
	"goldstream/personalize/bundle"
)

// imageUse says what stands for a golden image of a bundle.
type imageUse struct {
	name   string // here
	change string
	clash  bool
	uri    model.URI            // of one that is here and stays as it is
	info   blockstore.ImageInfo // of one whose disk is here and that needs a record
}

// planImages decides for each image of a bundle. An image that is here is never
// changed: volumes stand on it. What would overwrite it comes under another name.
func (d *Daemon) planImages(ctx context.Context, from *bundle.Bundle, on v1.Conflict) (map[string]imageUse, error) {
	uses := map[string]imageUse{}
	taken := map[string]bool{}
	for _, i := range from.Images {
		use, err := d.planImage(ctx, from, i, on, taken)
		if err != nil {
			return nil, err
		}
		taken[use.name] = true
		uses[i.Name] = use
	}
	return uses, nil
}

func (d *Daemon) planImage(ctx context.Context, from *bundle.Bundle, i bundle.Image, on v1.Conflict, taken map[string]bool) (use imageUse, err error) {
	use = imageUse{name: storeName(i.Name), change: "created"}
	if use.name != i.Name {
		use.change = "renamed"
	}
	info, err := d.store.Image(ctx, use.name)
	if errors.Is(err, blockstore.ErrNotFound) && !taken[use.name] {
		if !i.HasPayload() {
			_, _, err := from.OpenImage(i)
			return use, fmt.Errorf("%w, and there is none of that name here: import it first", err)
		}
		return use, nil
	}
	if err != nil && !errors.Is(err, blockstore.ErrNotFound) {
		return use, err
	}
	rec, err := d.goldenOf(ctx, info)
	if err != nil {
		return use, err
	}
	same := rec != nil && rec.Source != "" && rec.Source == from.ImageDigest(i)
	switch {
	case err == nil && info.ID != "" && (same || on == v1.ConflictKeep || !i.HasPayload()):
		use.change, use.info = "unchanged", info
		if !same {
			use.change = "kept"
		}
		if rec != nil {
			use.uri = rec.URI
		}
		return use, nil
	case on == v1.ConflictOverwrite, on == v1.ConflictRename:
		use.change = "renamed"
		use.name, err = d.freeImage(ctx, use.name, taken)
		return use, err
	}
	use.clash = true
	return use, nil
}

// goldenOf is the record of an image, or nil.
func (d *Daemon) goldenOf(ctx context.Context, info blockstore.ImageInfo) (rec *model.GoldenImage, err error) {
	s, _, err := d.life(ctx)
	if err != nil || info.ID == "" {
		return nil, err
	}
	err = s.View(ctx, func(r *store.Reader) error {
		return r.Each(model.GoldenImages, func(res model.Resource) error {
			if g := res.(*model.GoldenImage); g.ImageID == info.ID {
				rec = g
			}
			return nil
		})
	})
	return rec, err
}

func (d *Daemon) freeImage(ctx context.Context, name string, taken map[string]bool) (string, error) {
	for n := 2; ; n++ {
		try := fmt.Sprintf("%s (%d)", name, n)
		if taken[try] {
			continue
		}
		if _, err := d.store.Image(ctx, try); errors.Is(err, blockstore.ErrNotFound) {
			return try, nil
		} else if err != nil {
			return "", err
		}
	}
}

// storeName makes a name of a bundle one that the block store takes.
func storeName(name string) string {
	if blockstore.CheckName("a golden image", name) == nil {
		return name
	}
	name = strings.Map(func(r rune) rune {
		if blockstore.CheckName("", "a"+string(r)+"a") != nil {
			return '-'
		}
		return r
	}, name)
	name = strings.TrimSpace(name)
	if blockstore.CheckName("", name) != nil {
		name = "image " + name
	}
	return name[:min(len(name), 120)]
}

const bundleImportKind = "bundle import"

type bundleInput struct {
	Bundle model.URI
	On     v1.Conflict
}

// ImportBundle makes what is in a bundle, as a task. What is wrong, and conflicts,
// are told at once.
func (b *backend) ImportBundle(ctx context.Context, name string, on v1.Conflict, requestID string) (task.Info, error) {
	if _, err := b.PreviewBundle(ctx, name, on); err != nil {
		return task.Info{}, err
	}
	res, err := b.bundle(ctx, name)
	if err != nil {
		return task.Info{}, err
	}
	_, tasks, err := b.d.life(ctx)
	if err != nil {
		return task.Info{}, err
	}
	return tasks.Submit(ctx, task.Request{
		Kind: bundleImportKind, Name: "import bundle " + res.Name, Owner: whoOf(ctx), Subject: "bundle " + res.Name, About: string(res.URI), Key: requestID,
		Input: bundleInput{res.URI, on},
	})
}

// bundleImportTask imports images first, each in a commit of its own, then all plans
// in one. Images of a task that fails are removed again.
func (d *Daemon) bundleImportTask() task.Kind[*store.Tx] {
	return task.Kind[*store.Tx]{Name: bundleImportKind, Steps: []task.Step[*store.Tx]{
		{Name: "images", Weight: 20, Do: d.bundleImagesStep, Undo: d.undoBundleImages},
		{Name: "plans", Do: d.bundlePlansStep},
	}}
}

// withInput opens the bundle of a task.
func (d *Daemon) withInput(ctx context.Context, r *task.Run, fn func(*backend, *bundle.Bundle, v1.Conflict) error) error {
	var in bundleInput
	if err := r.Input(&in); err != nil {
		return err
	}
	b := &backend{Store: d.store, d: d}
	return b.withBundle(ctx, string(in.Bundle), in.On, func(from *bundle.Bundle) error { return fn(b, from, in.On) })
}

const disksKey = "disks"

func (d *Daemon) bundleImagesStep(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	return nil, d.withInput(ctx, r, func(b *backend, from *bundle.Bundle, on v1.Conflict) error {
		names := map[string]string{} // in the bundle and here
		for n, i := range from.Images {
			name, err := b.importBundled(ctx, r, from, i, on, n)
			if err != nil {
				return fmt.Errorf("golden image %q: %w", i.Name, err)
			}
			names[i.Name] = name
		}
		return r.Put(disksKey, names)
	})
}

// importBundled has the image of a bundle in the block store. One that this task made
// before it was killed is there.
func (b *backend) importBundled(ctx context.Context, r *task.Run, from *bundle.Bundle, i bundle.Image, on v1.Conflict, n int) (string, error) {
	images, err := b.Images(ctx)
	if err != nil {
		return "", err
	}
	owner := taskOwner(r) + "/" + fmt.Sprint(n)
	for _, info := range images {
		if info.Owner == owner {
			return info.Name, nil
		}
	}
	use, err := b.d.planImage(ctx, from, i, on, nil)
	if err != nil {
		return "", err
	}
	if use.clash {
		return "", clashError([]string{"golden image " + quoted(i.Name)})
	}
	if use.info.ID != "" {
		return use.name, nil
	}
	in, size, err := from.OpenImage(i)
	if err != nil {
		return "", err
	}
	defer in.Close()
	f, err := b.d.spool(ctx, in, size, nil)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r.Logf("importing golden image %s", use.name)
	_, err = b.importSeekable(ctx, f, blockstore.ImportRequest{
		Name: use.name, Owner: owner, RequestID: r.RequestID() + "/" + fmt.Sprint(n),
		Progress: func(p blockstore.Progress) {
			if p.Total > 0 {
				r.Progress((float64(n) + float64(p.Done)/float64(p.Total)) / float64(len(from.Images)))
			}
		},
	})
	b.d.opts.failpoint("bundle image")
	return use.name, err
}

func (d *Daemon) undoBundleImages(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	images, err := d.store.Images(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, info := range images {
		if strings.HasPrefix(info.Owner, taskOwner(r)+"/") {
			errs = append(errs, d.store.DeleteImage(ctx, info.Name, r.RequestID()+"/"+info.ID))
		}
	}
	return nil, errors.Join(errs...)
}

func digestOf(from *bundle.Bundle, name string) string {
	for _, i := range from.Images {
		if i.Name == name {
			return from.ImageDigest(i)
		}
	}
	return ""
}

func (d *Daemon) bundlePlansStep(ctx context.Context, r *task.Run) (commit task.Commit[*store.Tx], err error) {
	err = d.withInput(ctx, r, func(b *backend, from *bundle.Bundle, on v1.Conflict) error {
		names := map[string]string{}
		if _, err := r.Get(disksKey, &names); err != nil {
			return err
		}
		disks := map[string]imageUse{}
		for in, name := range names {
			info, err := d.store.Image(ctx, name)
			if err != nil {
				return err
			}
			use := imageUse{name: name, info: info, change: "unchanged"}
			mine := strings.HasPrefix(info.Owner, taskOwner(r)+"/")
			if mine && name == in {
				use.change = "created"
			} else if mine {
				use.change = "renamed"
			}
			if !mine {
				rec, err := d.goldenOf(ctx, info)
				if err != nil {
					return err
				}
				if rec != nil {
					use.uri = rec.URI
				}
				if rec == nil || rec.Source == "" || rec.Source != digestOf(from, in) {
					use.change = "kept"
				}
			}
			disks[in] = use
		}
		// What it will be is told first: made it is in the commit of the step, so that a
		// kill cannot come in between.
		list, err := d.previewPlans(ctx, from, on, disks)
		if err != nil {
			return err
		}
		for _, c := range list {
			r.Logf("%s %s: %s", singularKind(model.Kind(c.Kind)), c.Name, strings.TrimSpace(c.Change+" "+c.As+c.Why))
		}
		commit = func(tx *store.Tx) error {
			_, err := importInto(tx, from, on, disks)
			return err
		}
		return r.Result(v1.BundleChanges{Artifacts: list})
	})
	return commit, err
}
