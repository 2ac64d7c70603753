package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"reflect"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

// errDry ends an import that shall change nothing.
var errDry = errors.New("dry run")

// ImportPlans keeps the plans of a file in one update.
func (b *backend) ImportPlans(ctx context.Context, r io.Reader, dry bool) ([]v1.PlanChange, error) {
	docs, err := personalize.ReadDocuments("the file", r)
	if err != nil {
		return nil, err
	}
	s, _, err := b.d.life(ctx)
	if err != nil {
		return nil, err
	}
	images, err := b.imagesOf(ctx, docs)
	if err != nil {
		return nil, err
	}
	var changes []v1.PlanChange
	err = s.Update(ctx, store.Cause{Who: whoOf(ctx), Why: "plan import"}, func(tx *store.Tx) error {
		im := &planImport{tx: tx, images: images}
		for _, kind := range []personalize.Kind{personalize.KindScript, personalize.KindBuild, personalize.KindDeployment} {
			for i := range docs {
				if docs[i].Kind == kind {
					if err := im.keep(&docs[i]); err != nil {
						return err
					}
				}
			}
		}
		if err := im.checkUsers(); err != nil {
			return err
		}
		if err := im.retype(); err != nil {
			return err
		}
		changes = im.changes
		if dry {
			return errDry
		}
		return nil
	})
	if errors.Is(err, errDry) {
		err = nil
	}
	if err != nil {
		changes = nil
	}
	return changes, err
}

// imagesOf finds the golden images that deployment plans name.
func (b *backend) imagesOf(ctx context.Context, docs []personalize.Document) (map[string]blockstore.ImageInfo, error) {
	images := map[string]blockstore.ImageInfo{}
	for _, d := range docs {
		if d.Image == "" {
			continue
		}
		info, err := b.Image(ctx, d.Image)
		if err != nil {
			return nil, err
		}
		images[d.Image] = info
	}
	return images, nil
}

// planImport is an import as it goes on.
type planImport struct {
	tx      *store.Tx
	images  map[string]blockstore.ImageInfo
	changes []v1.PlanChange
	scripts []model.URI // that were changed, as the next
	builds  []model.URI
}

func (im *planImport) keep(d *personalize.Document) error {
	meta := model.Meta{Name: d.Name, Description: d.Description}
	var r model.Resource
	var err error
	switch d.Kind {
	case personalize.KindScript:
		r = &model.PlanScript{Meta: meta, PlanScript: d.PlanScript()}
	case personalize.KindBuild:
		r, err = im.build(meta, d)
	default:
		r, err = im.deployment(meta, d)
	}
	if err != nil {
		return err
	}
	change, err := im.put(r)
	if err != nil {
		return err
	}
	switch {
	case change == "changed" && r.Kind() == model.PlanScripts:
		im.scripts = append(im.scripts, r.Head().URI)
	case change == "changed" && r.Kind() == model.BuildPlans:
		im.builds = append(im.builds, r.Head().URI)
	}
	im.changes = append(im.changes, v1.PlanChange{Kind: d.Kind, Name: d.Name, Change: change})
	return nil
}

// put creates or changes a resource, unless it is there as it should be.
func (im *planImport) put(r model.Resource) (change string, err error) {
	old, err := im.tx.ByName(r.Kind(), r.Head().Name)
	if errors.Is(err, store.ErrNotFound) {
		return "created", im.tx.Create(r)
	}
	if err != nil {
		return "", err
	}
	h := *old.Head()
	h.Description = r.Head().Description
	*r.Head() = h
	if sameResource(old, r) {
		return "unchanged", nil
	}
	return "changed", im.tx.Save(r)
}

// sameResource compares all, secrets too.
func sameResource(a, b model.Resource) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y) && reflect.DeepEqual(a.Secrets(), b.Secrets())
}

func (im *planImport) build(meta model.Meta, d *personalize.Document) (*model.BuildPlan, error) {
	plan, err := d.Build(func(name string) (string, error) {
		r, err := im.tx.ByName(model.PlanScripts, name)
		if errors.Is(err, store.ErrNotFound) {
			return "", attribute.Invalid("build plan %q has a step %q, but there is no plan script of that name: import it first, or in the same file", d.Name, name)
		}
		if err != nil {
			return "", err
		}
		return string(r.Head().URI), nil
	})
	if err != nil {
		return nil, err
	}
	steps, err := stepsOf(&im.tx.Reader, plan)
	if err != nil {
		return nil, err
	}
	return &model.BuildPlan{Meta: meta, BuildPlan: plan}, plan.CheckSteps(d.Name, steps)
}

// checkUsers checks build plans whose scripts were changed.
func (im *planImport) checkUsers() error {
	for _, script := range im.scripts {
		users, err := im.tx.Referrers(script)
		if err != nil {
			return err
		}
		for _, uri := range users {
			r, err := im.tx.Get(uri)
			if err != nil {
				return err
			}
			plan, ok := r.(*model.BuildPlan)
			if !ok {
				continue
			}
			steps, err := stepsOf(&im.tx.Reader, plan.BuildPlan)
			if err == nil {
				err = plan.CheckSteps(plan.Name, steps)
			}
			if err != nil {
				return attribute.Invalid("build plan %q would no longer be right: %v; change it in the same file", plan.Name, err)
			}
		}
	}
	return nil
}

// retype brings deployment plans up to date whose build plans were changed: a
// value that is a password now must no longer be shown. One that was a password
// cannot become something else this way: it would be shown.
func (im *planImport) retype() error {
	for _, uri := range im.builds {
		r, err := im.tx.Get(uri)
		if err != nil {
			return err
		}
		build := r.(*model.BuildPlan)
		users, err := im.tx.Referrers(uri)
		if err != nil {
			return err
		}
		for _, user := range users {
			if r, err = im.tx.Get(user); err != nil {
				return err
			}
			plan, ok := r.(*model.DeploymentPlan)
			if !ok {
				continue
			}
			if err := im.retypePlan(plan, build); err != nil {
				return err
			}
		}
	}
	return nil
}

func (im *planImport) retypePlan(plan *model.DeploymentPlan, build *model.BuildPlan) error {
	next := *plan
	next.Values = personalize.Retype(plan.Values, build.Attributes)
	err := build.CheckValues(next.Values)
	for i, v := range plan.Values {
		if v.Secret() && !next.Values[i].Secret() {
			err = attribute.Invalid("its value for %q is a password, which build plan %q does not say", v.Name, build.Name)
		}
	}
	if build.Type != personalize.Deploy {
		err = attribute.Invalid("its build plan %q is for captures", build.Name)
	}
	if err != nil {
		return attribute.Invalid("deployment plan %q would no longer be right: %v; change it in the same file", plan.Name, err)
	}
	change, err := im.put(&next)
	if err == nil && change == "changed" {
		im.changes = append(im.changes, v1.PlanChange{Kind: personalize.KindDeployment, Name: plan.Name, Change: change})
	}
	return err
}

func (im *planImport) deployment(meta model.Meta, d *personalize.Document) (*model.DeploymentPlan, error) {
	size, err := personalize.ParseSize(d.Size)
	if err != nil {
		return nil, err
	}
	p := &model.DeploymentPlan{Meta: meta, Size: size, Fixed: d.Fixed, Hidden: d.Hidden}
	if d.Image != "" {
		if p.Image, err = im.image(im.images[d.Image]); err != nil {
			return nil, err
		}
	}
	if d.BuildPlan == "" {
		if len(d.Values) > 0 {
			return nil, attribute.Invalid("deployment plan %q has values but no build plan that they are for", d.Name)
		}
		return p, nil
	}
	r, err := im.tx.ByName(model.BuildPlans, d.BuildPlan)
	if errors.Is(err, store.ErrNotFound) {
		return nil, attribute.Invalid("deployment plan %q names the build plan %q, which does not exist: import it first, or in the same file", d.Name, d.BuildPlan)
	}
	if err != nil {
		return nil, err
	}
	build := r.(*model.BuildPlan)
	if build.Type != personalize.Deploy {
		return nil, attribute.Invalid("deployment plan %q names the build plan %q, which is for captures", d.Name, d.BuildPlan)
	}
	p.BuildPlan, p.Values = build.URI, d.Settings(build.Attributes)
	return p, build.CheckValues(p.Values)
}

// image returns the resource of a golden image, made or brought up to date.
func (im *planImport) image(info blockstore.ImageInfo) (model.URI, error) {
	r := &model.GoldenImage{Meta: model.Meta{URI: model.ImageURI(info.ID), Name: info.Name}, Image: info.Name, ImageID: info.ID, Size: info.Size}
	if old, err := im.tx.ByName(r.Kind(), r.Name); err == nil {
		if was := old.(*model.GoldenImage); was.ImageID == info.ID {
			return was.URI, nil // with all that a bundle said of it
		}
	}
	var renamed model.URI // it may be called otherwise than its disk
	err := im.tx.Each(r.Kind(), func(res model.Resource) error {
		if res.(*model.GoldenImage).ImageID == info.ID {
			renamed = res.Head().URI
		}
		return nil
	})
	if err != nil || renamed != "" {
		return renamed, err
	}
	_, err = im.put(r)
	return r.URI, err
}

// stepsOf reads the steps of a build plan.
func stepsOf(r *store.Reader, plan personalize.BuildPlan) ([]personalize.Step, error) {
	var steps []personalize.Step
	for _, s := range plan.Steps {
		if s.Native != nil {
			steps = append(steps, personalize.Step{Name: s.Native.Title(), Native: s.Native})
			continue
		}
		if s.Script == "" {
			continue // the check of the plan tells
		}
		res, err := r.Get(model.URI(s.Script))
		if err != nil {
			return nil, err
		}
		script := res.(*model.PlanScript)
		steps = append(steps, personalize.Step{Name: script.Name, Script: script.PlanScript})
	}
	return steps, nil
}
