package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
	"goldstream/personalize/bundle"
)

const bundleCreateKind = "bundle create"

type createInput struct {
	Request v1.BundleRequest
	URI     model.URI // that the bundle gets
	Time    time.Time // that stands in it
}

// CreateBundle makes a bundle, as a task. What does not exist is told at once.
func (b *backend) CreateBundle(ctx context.Context, req v1.BundleRequest, requestID string) (task.Info, error) {
	s, tasks, err := b.d.life(ctx)
	if err != nil {
		return task.Info{}, err
	}
	digest, err := requestDigest(s.Key(), wish{how: v1.Change{RequestID: requestID}, name: bundleCreateKind, request: req})
	if err != nil {
		return task.Info{}, err
	}
	if i, known, err := tasks.Known(requestID, digest); known || err != nil {
		return i, err
	}
	if _, err := b.collect(ctx, req); err != nil {
		return task.Info{}, err
	}
	if _, err := b.bundle(ctx, req.Name); err == nil {
		if i, known, err := tasks.Known(requestID, digest); known || err != nil {
			return i, err // the same request, sent twice at once, has made it
		}
		return task.Info{}, &v1.Error{Code: v1.CodeExists, Message: "there is an artifact bundle " + quoted(req.Name) + " already", Advice: "Choose another name, or delete that one."}
	}
	uri := model.NewURI(model.ArtifactBundles)
	return tasks.Submit(ctx, task.Request{
		Kind: bundleCreateKind, Name: "make bundle " + req.Name, Owner: whoOf(ctx), Subject: "bundle " + req.Name, About: string(uri), Key: requestID, Digest: digest,
		Input: createInput{req, uri, time.Now().UTC()},
	})
}

// collection is what a bundle is made of: what was asked for, and all that refers to.
type collected struct {
	seen        map[model.URI]bool
	scripts     []bundle.Script
	builds      []bundle.Build
	deployments []bundle.Deployment
	images      []bundledImage
}

// bundledImage is an image and its name in the block store.
type bundledImage struct {
	bundle.Image
	disk string
	id   string
}

// collect reads all of it in one state of the store.
func (b *backend) collect(ctx context.Context, req v1.BundleRequest) (*collected, error) {
	probe := &model.ArtifactBundle{Meta: model.Meta{Name: req.Name, Description: req.Description}, Size: 1, SHA256: "x"}
	if err := probe.Validate(); err != nil {
		return nil, err
	}
	c := &collected{seen: map[model.URI]bool{}}
	loose, err := b.unrecorded(ctx, req.Images)
	if err != nil {
		return nil, err
	}
	err = b.view(ctx, func(r *store.Reader) error {
		for _, of := range []struct {
			kind  model.Kind
			items []v1.BundleItem
		}{{model.PlanScripts, req.Scripts}, {model.BuildPlans, req.Builds}, {model.DeploymentPlans, req.Deployments}, {model.GoldenImages, req.Images}} {
			for _, item := range of.items {
				res, err := find(r, of.kind, item.Name)
				if info, ok := loose[item.Name]; ok && errors.Is(err, store.ErrNotFound) {
					res, err = &model.GoldenImage{Meta: model.Meta{URI: model.NewURI(model.GoldenImages), Name: info.Name}, Image: info.Name, ImageID: info.ID}, nil
				}
				if err != nil {
					return err
				}
				if err := c.add(r, res, item.ReadOnly); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil && len(c.seen) == 0 {
		err = attribute.Invalid("bundle %q would be empty: name plan scripts, build plans, deployment plans or golden images", req.Name)
	}
	return c, err
}

// unrecorded finds images that no plan was made for yet.
func (b *backend) unrecorded(ctx context.Context, items []v1.BundleItem) (map[string]blockstore.ImageInfo, error) {
	found := map[string]blockstore.ImageInfo{}
	for _, item := range items {
		info, err := b.Image(ctx, item.Name)
		if errors.Is(err, blockstore.ErrNotFound) || errors.Is(err, blockstore.ErrInvalid) {
			continue // perhaps a URI; else there is an error soon
		}
		if err != nil {
			return nil, err
		}
		found[item.Name] = info
	}
	return found, nil
}

func headOf(res model.Resource) bundle.Head {
	h := res.Head()
	return bundle.Head{ID: h.URI.ID(), Name: h.Name, Description: h.Description}
}

// add takes a resource and what it refers to.
func (c *collected) add(r *store.Reader, res model.Resource, readOnly bool) error {
	if c.seen[res.Head().URI] {
		return nil
	}
	c.seen[res.Head().URI] = true
	for _, ref := range res.References() {
		to, err := r.Get(ref.To)
		if err != nil {
			return err
		}
		if err := c.add(r, to, readOnly); err != nil {
			return err
		}
	}
	h := headOf(res)
	switch res := res.(type) {
	case *model.PlanScript:
		s := res.PlanScript
		s.ReadOnly = s.ReadOnly || readOnly
		c.scripts = append(c.scripts, bundle.Script{Head: h, PlanScript: s})
	case *model.GoldenImage:
		c.images = append(c.images, bundledImage{bundle.Image{Head: h, ReadOnly: res.ReadOnly || readOnly}, res.Image, res.ImageID})
	case *model.BuildPlan:
		return c.addBuild(r, h, res, readOnly)
	case *model.DeploymentPlan:
		return c.addDeployment(r, h, res, readOnly)
	}
	return nil
}

func (c *collected) addBuild(r *store.Reader, h bundle.Head, res *model.BuildPlan, readOnly bool) error {
	plan := res.BuildPlan
	plan.ReadOnly = plan.ReadOnly || readOnly
	plan.Steps = make([]personalize.BuildStep, len(res.Steps))
	for i, s := range res.Steps {
		plan.Steps[i] = s
		if s.Native != nil {
			continue
		}
		name, err := planName(r, model.URI(s.Script))
		if err != nil {
			return err
		}
		plan.Steps[i].Script = name
	}
	c.builds = append(c.builds, bundle.Build{Head: h, BuildPlan: plan})
	return nil
}

func (c *collected) addDeployment(r *store.Reader, h bundle.Head, res *model.DeploymentPlan, readOnly bool) (err error) {
	d := bundle.Deployment{Head: h, ReadOnly: res.ReadOnly || readOnly, Fixed: res.Fixed, Hidden: res.Hidden}
	if d.Image, err = planName(r, res.Image); err != nil {
		return err
	}
	if d.Build, err = planName(r, res.BuildPlan); err != nil {
		return err
	}
	values := map[string]attribute.Value{}
	for _, v := range res.Values {
		values[v.Name] = v
	}
	if res.BuildPlan != "" {
		to, err := r.Get(res.BuildPlan)
		if err != nil {
			return err
		}
		for _, def := range to.(*model.BuildPlan).Attributes {
			a := attribute.NewDefinition(def.Name, def.Type, values[def.Name].Reveal())
			a.Constraints, a.Description = def.Constraints, def.Description
			d.Attributes = append(d.Attributes, a)
		}
	}
	if d.Image == "" {
		d.Attributes = append(d.Attributes, volumeSize(res.Size))
	}
	c.deployments = append(c.deployments, d)
	return nil
}

// volumeSize says how large an empty volume is. The format counts in MiB.
func volumeSize(size int64) attribute.Definition {
	a := attribute.NewDefinition(attribute.VolumeSize, attribute.Number, fmt.Sprint((size+1<<20-1)>>20))
	a.Constraints, _ = attribute.ParseConstraints(`{"unit":"MiB"}`) // it is right
	return a
}

// bundleCreateTask writes the file, and makes its record in the same commit as the
// news that the step is done.
func (d *Daemon) bundleCreateTask() task.Kind[*store.Tx] {
	return task.Kind[*store.Tx]{Name: bundleCreateKind, Steps: []task.Step[*store.Tx]{
		{Name: "write", Do: d.bundleWriteStep, Undo: d.undoBundleWrite},
	}}
}

func (d *Daemon) bundleWriteStep(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	var in createInput
	if err := r.Input(&in); err != nil {
		return nil, err
	}
	b := &backend{Store: d.store, d: d}
	c, err := b.collect(ctx, in.Request)
	if err != nil {
		return nil, err
	}
	f, err := d.newBundleFile()
	if err != nil {
		return nil, err
	}
	defer f.drop()
	of := bundle.Manifest{Name: in.Request.Name, Description: in.Request.Description, ReadOnly: in.Request.ReadOnly, Time: in.Time}
	if err := c.write(ctx, bundle.NewWriter(&roomyWriter{f: f.File, d: d}, of), d.store, r.Progress); err != nil {
		return nil, err
	}
	res, err := f.read() // also proof that it can be read
	if err != nil {
		return nil, err
	}
	res.URI, res.Name, res.Description = in.URI, in.Request.Name, in.Request.Description
	if err := f.keep(res.URI); err != nil {
		return nil, err
	}
	d.opts.failpoint("bundle file")
	r.Logf("%d artifacts, %d bytes", len(res.Artifacts), res.Size)
	if err := r.Result(bundleInfo(res)); err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error { return tx.Create(res) }, nil
}

func (d *Daemon) undoBundleWrite(_ context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	var in createInput
	if err := r.Input(&in); err != nil {
		return nil, err
	}
	err := os.Remove(d.bundlePath(in.URI))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return nil, err
}

// roomyWriter leaves the file system what an import leaves it.
type roomyWriter struct {
	f       *os.File
	d       *Daemon
	pending int64 // bytes since the last look
}

func (w *roomyWriter) Write(p []byte) (int, error) {
	if w.pending == 0 || w.pending >= spoolCheck {
		w.pending = 0
		room, err := w.d.store.ImportRoom()
		if err == nil && room < 0 {
			err = fmt.Errorf("%s has no room for the bundle: free some space: %w", w.d.dir, blockstore.ErrNoSpace)
		}
		if err != nil {
			return 0, err
		}
	}
	n, err := w.f.Write(p)
	w.pending += int64(n)
	return n, err
}

func (c *collected) write(ctx context.Context, w *bundle.Writer, s *blockstore.Store, progress func(float64)) error {
	for _, script := range c.scripts {
		if err := w.Script(script); err != nil {
			return err
		}
	}
	for n, i := range c.images {
		err := w.Image(i.Image, func(out io.Writer) error {
			disk, err := s.OpenImage(ctx, i.disk)
			if err != nil {
				return err
			}
			defer disk.Close()
			if info, err := s.Image(ctx, i.disk); err != nil || info.ID != i.id {
				return errors.Join(err, sameImage(i.disk, i.id, info.ID))
			}
			done := int64(0)
			return v1.CopyDisk(ctx, disk, v1.NewFlatSink(writerFunc(func(p []byte) (int, error) {
				done += int64(len(p))
				progress((float64(n) + float64(done)/float64(disk.Size())) / float64(len(c.images)))
				return out.Write(p)
			})))
		})
		if err != nil {
			return fmt.Errorf("golden image %q: %w", i.Name, err)
		}
	}
	for _, p := range c.builds {
		if err := w.Build(p); err != nil {
			return err
		}
	}
	for _, p := range c.deployments {
		if err := w.Deployment(p); err != nil {
			return err
		}
	}
	return w.Close()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
