package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"goldstream/api/v1"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
	"goldstream/personalize/bundle"
)

// bundleImport makes the plans of a bundle in one update. Images come before: see
// bundleImages.
type bundleImport struct {
	planImport
	from  *bundle.Bundle
	on    v1.Conflict
	disks map[string]imageUse // golden images, by their names in the bundle
	uris  map[model.Kind]map[string]model.URI
	// passwords are the attributes of that type of the deployment plan at hand.
	passwords map[string]bool
	result    []v1.BundleChange
	clash     []string
}

// checkConflict refuses words that mean nothing.
func checkConflict(on v1.Conflict) error {
	if on != "" && !slices.Contains(v1.Conflicts(), on) {
		return attribute.Invalid("%.64q says nothing about conflicts: write one of %v", string(on), v1.Conflicts())
	}
	return nil
}

// run makes all of it, in the order of references.
func (im *bundleImport) run() error {
	im.uris = map[model.Kind]map[string]model.URI{model.PlanScripts: {}, model.BuildPlans: {}, model.GoldenImages: {}}
	for _, s := range im.from.Scripts {
		fresh := func() model.Resource { return &model.PlanScript{Meta: meta(s.Head), PlanScript: s.PlanScript} }
		if err := im.artifact(s.Head, fresh); err != nil {
			return err
		}
	}
	for _, i := range im.from.Images {
		if err := im.golden(i); err != nil {
			return err
		}
	}
	for _, p := range im.from.Builds {
		if err := im.buildPlan(p); err != nil {
			return err
		}
	}
	if len(im.clash) > 0 { // else deployment plans would be compared with build plans of others
		return clashError(im.clash)
	}
	for _, p := range im.from.Deployments {
		if err := im.deploymentPlan(p); err != nil {
			return err
		}
	}
	if len(im.clash) > 0 {
		return clashError(im.clash)
	}
	if err := im.checkUsers(); err != nil {
		return err
	}
	return im.retype()
}

func clashError(list []string) error {
	return &v1.Error{
		Code: v1.CodeExists, Message: "nothing was imported: something else has the name of " + strings.Join(list, ", "),
		Advice: "Say what is to be done: overwrite what is here, keep it, or rename what comes ('--on-conflict overwrite', 'keep' or 'rename').",
	}
}

func meta(h bundle.Head) model.Meta { return model.Meta{Name: h.Name, Description: h.Description} }

// artifact keeps one artifact, and says so.
func (im *bundleImport) artifact(h bundle.Head, fresh func() model.Resource) error {
	r, change, err := im.settle(h, fresh)
	if err != nil {
		return err
	}
	out := v1.BundleChange{Kind: string(r.Kind()), Name: h.Name, Change: change}
	if r.Head().Name != h.Name {
		out.As = r.Head().Name
	}
	im.result = append(im.result, out)
	if known := im.uris[r.Kind()]; known != nil {
		known[h.Name] = r.Head().URI
	}
	return nil
}

// settle makes the resource, or decides what becomes of it where its name is taken.
// What it returns has the head of what stands for it.
func (im *bundleImport) settle(h bundle.Head, fresh func() model.Resource) (r model.Resource, change string, err error) {
	r = fresh()
	old, err := im.tx.ByName(r.Kind(), h.Name)
	if errors.Is(err, store.ErrNotFound) {
		return r, "created", im.create(h, r)
	}
	if err != nil {
		return r, "", err
	}
	im.keepSecrets(old, r)
	head := *old.Head()
	head.Description = h.Description
	*r.Head() = head
	if sameResource(old, r) {
		return r, "unchanged", nil
	}
	switch im.on {
	case v1.ConflictOverwrite:
		switch r.Kind() {
		case model.PlanScripts:
			im.scripts = append(im.scripts, head.URI)
		case model.BuildPlans:
			im.builds = append(im.builds, head.URI)
		}
		return r, "changed", im.tx.Save(r)
	case v1.ConflictKeep:
		*r.Head() = *old.Head()
		return r, "kept", nil
	case v1.ConflictRename:
		r = fresh()
		if r.Head().Name, err = im.freeName(r.Kind(), h.Name); err != nil {
			return r, "", err
		}
		return r, "renamed", im.create(bundle.Head{}, r)
	}
	im.clash = append(im.clash, fmt.Sprintf("%s %q", singularKind(r.Kind()), h.Name))
	return r, "", nil
}

func singularKind(k model.Kind) string {
	return strings.ReplaceAll(strings.TrimSuffix(string(k), "s"), "-", " ")
}

// create keeps the ID that it has in the bundle, if that is free: clients know it.
func (im *bundleImport) create(h bundle.Head, r model.Resource) error {
	if uri := model.URIOf(r.Kind(), h.ID); uri != "" {
		if _, err := im.tx.Get(uri); errors.Is(err, store.ErrNotFound) {
			r.Head().URI = uri
		} else if err != nil {
			return err
		}
	}
	return im.tx.Create(r)
}

// freeName is the name with the least number that nobody has.
func (im *bundleImport) freeName(k model.Kind, name string) (string, error) {
	for n := 2; ; n++ {
		try := fmt.Sprintf("%s (%d)", name, n)
		if _, err := im.tx.ByName(k, try); errors.Is(err, store.ErrNotFound) {
			return try, nil
		} else if err != nil {
			return "", err
		}
	}
}

// keepSecrets gives r the passwords of what it stands for: bundles have none.
func (im *bundleImport) keepSecrets(old, r model.Resource) {
	known := old.Secrets()
	for name, place := range r.Secrets() {
		if there, ok := known[name]; ok && attribute.NewValue("", attribute.Password, *place).Withheld() {
			*place = *there
		}
	}
	if to, ok := r.(*model.DeploymentPlan); ok {
		for _, v := range old.(*model.DeploymentPlan).Values {
			if v.Secret() && im.passwords[v.Name] && !slices.ContainsFunc(to.Values, func(w attribute.Value) bool { return w.Name == v.Name }) {
				to.Values = append(to.Values, v)
			}
		}
		sortValues(to.Values)
	}
}

func sortValues(values []attribute.Value) {
	slices.SortFunc(values, func(a, b attribute.Value) int { return strings.Compare(a.Name, b.Name) })
}

func (im *bundleImport) golden(i bundle.Image) error {
	use, ok := im.disks[i.Name]
	if !ok {
		return fmt.Errorf("golden image %q is not there", i.Name)
	}
	im.uris[model.GoldenImages][i.Name] = use.uri
	change := v1.BundleChange{Kind: string(model.GoldenImages), Name: i.Name, Change: use.change}
	if use.name != i.Name {
		change.As = use.name
	}
	if use.clash {
		im.clash = append(im.clash, fmt.Sprintf("golden image %q", i.Name))
	}
	im.result = append(im.result, change)
	if use.uri != "" || use.info.ID == "" { // of a preview the disk is not here yet
		return nil
	}
	r := &model.GoldenImage{
		Meta: model.Meta{Name: use.info.Name, Description: i.Description}, Image: use.info.Name, ImageID: use.info.ID, Size: use.info.Size,
		ReadOnly: i.ReadOnly,
	}
	if use.change != "kept" { // then it is not the bundle's
		r.Source = im.from.ImageDigest(i)
	}
	uri, err := im.keepGolden(bundle.Head{ID: i.ID}, r)
	im.uris[model.GoldenImages][i.Name] = uri
	return err
}

// keepGolden makes the record of an image, or brings one of its name up to date.
func (im *bundleImport) keepGolden(h bundle.Head, r *model.GoldenImage) (model.URI, error) {
	old, err := im.tx.ByName(r.Kind(), r.Name)
	if errors.Is(err, store.ErrNotFound) {
		err = im.create(h, r)
		return r.URI, err
	}
	if err != nil {
		return "", err
	}
	head := *old.Head()
	head.Description = r.Description
	r.Meta = head
	return r.URI, im.tx.Save(r)
}

func (im *bundleImport) buildPlan(p bundle.Build) error {
	plan := p.BuildPlan
	plan.Steps = slices.Clone(p.Steps)
	plan.Attributes = slices.Clone(p.Attributes)
	for i := range plan.Steps {
		if plan.Steps[i].Native != nil {
			continue
		}
		uri, err := im.reference(model.PlanScripts, p.Steps[i].Script, "step "+strconv.Itoa(i+1)+" of build plan "+quoted(p.Name))
		if err != nil {
			return err
		}
		plan.Steps[i].Script = string(uri)
	}
	if len(im.clash) == 0 { // else names of the bundle may stand for scripts of others
		steps, err := stepsOf(&im.tx.Reader, plan)
		if err != nil {
			return err
		}
		if err := plan.CheckSteps(p.Name, steps); err != nil {
			return err
		}
	}
	return im.artifact(p.Head, func() model.Resource {
		own := plan
		own.Attributes = nil
		for _, d := range plan.Attributes { // its secret is behind a pointer
			a := attribute.NewDefinition(d.Name, d.Type, d.Default().Reveal())
			a.Constraints, a.Description = d.Constraints, d.Description
			own.Attributes = append(own.Attributes, a)
		}
		return &model.BuildPlan{Meta: meta(p.Head), BuildPlan: own}
	})
}

// reference finds what has a name in the bundle, or here.
func (im *bundleImport) reference(k model.Kind, name, of string) (model.URI, error) {
	if uri := im.uris[k][name]; uri != "" {
		return uri, nil
	}
	r, err := im.tx.ByName(k, name)
	if errors.Is(err, store.ErrNotFound) {
		return "", attribute.Invalid("%s is the %s %q, which is neither in the bundle nor here: import it first", of, singularKind(k), name)
	}
	if err != nil {
		return "", err
	}
	return r.Head().URI, nil
}

func (im *bundleImport) deploymentPlan(p bundle.Deployment) (err error) {
	r := &model.DeploymentPlan{Meta: meta(p.Head), ReadOnly: p.ReadOnly}
	of := "the deployment plan " + quoted(p.Name)
	var build *model.BuildPlan
	if p.Build != "" {
		if build, err = im.buildOf(p, of); err != nil {
			return err
		}
		r.BuildPlan = build.URI
	}
	if err := im.settings(r, p, build); err != nil {
		if _, there := im.tx.ByName(r.Kind(), p.Name); there == nil && im.on == v1.ConflictKeep {
			im.result = append(im.result, v1.BundleChange{Kind: string(r.Kind()), Name: p.Name, Change: "kept"})
			return nil // what is here stays, whatever stands in the bundle
		}
		return err
	}
	if p.Image != "" {
		if use, ok := im.disks[p.Image]; ok && use.uri == "" && use.info.ID == "" {
			return im.previewDeployment(p)
		}
		if r.Image, err = im.reference(model.GoldenImages, p.Image, "what "+of+" clones"); err != nil {
			return err
		}
	}
	if r.Image == "" && r.Size == 0 {
		im.result = append(im.result, v1.BundleChange{
			Kind: string(r.Kind()), Name: p.Name, Change: "skipped",
			Why: "it names neither a golden image nor the VolumeSize of an empty volume: make it with 'goldstream plan import' once it is known what it clones",
		})
		return nil
	}
	im.passwords = map[string]bool{}
	if build != nil {
		for _, d := range build.Attributes {
			im.passwords[d.Name] = d.Type == attribute.Password
		}
	}
	return im.artifact(p.Head, func() model.Resource {
		own := *r
		own.Values = slices.Clone(r.Values)
		return &own
	})
}

// previewDeployment tells of a plan whose image is not here yet: it is another than
// any that is.
func (im *bundleImport) previewDeployment(p bundle.Deployment) error {
	change := v1.BundleChange{Kind: string(model.DeploymentPlans), Name: p.Name, Change: "created"}
	_, err := im.tx.ByName(model.DeploymentPlans, p.Name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil {
		switch im.on {
		case v1.ConflictOverwrite:
			change.Change = "changed"
		case v1.ConflictKeep:
			change.Change = "kept"
		case v1.ConflictRename:
			change.Change = "renamed"
		default:
			im.clash = append(im.clash, fmt.Sprintf("%s %q", singularKind(model.DeploymentPlans), p.Name))
		}
	}
	im.result = append(im.result, change)
	return nil
}

func (im *bundleImport) buildOf(p bundle.Deployment, of string) (*model.BuildPlan, error) {
	uri, err := im.reference(model.BuildPlans, p.Build, "what "+of+" runs")
	if err != nil {
		return nil, err
	}
	res, err := im.tx.Get(uri)
	if err != nil {
		return nil, err
	}
	build := res.(*model.BuildPlan)
	if build.Type != personalize.Deploy {
		return nil, attribute.Invalid("%s runs the build plan %q, which is for captures", of, p.Build)
	}
	return build, nil
}

// settings takes the values of a plan over. VolumeSize is the size of its volumes.
func (im *bundleImport) settings(r *model.DeploymentPlan, p bundle.Deployment, build *model.BuildPlan) error {
	declared := map[string]bool{}
	var defs []attribute.Definition
	if build != nil {
		defs = build.Attributes
	}
	size := ""
	for _, d := range defs {
		declared[d.Name] = true
		if strings.EqualFold(d.Name, attribute.VolumeSize) {
			size = d.Default().Reveal()
		}
	}
	for _, a := range p.Attributes {
		text := a.Default().Reveal()
		if strings.EqualFold(a.Name, attribute.VolumeSize) && text != "" {
			size = text
		}
		if text != "" && a.Type != attribute.NIC && (declared[a.Name] || !attribute.System(a.Name)) && !(a.Type == attribute.Password && a.Default().Withheld()) {
			r.Values = append(r.Values, attribute.NewValue(a.Name, a.Type, text))
		}
	}
	sortValues(r.Values)
	r.Values = personalize.Retype(r.Values, defs)
	known := func(name string) bool { return !declared[name] }
	r.Fixed, r.Hidden = slices.DeleteFunc(slices.Clone(p.Fixed), known), slices.DeleteFunc(slices.Clone(p.Hidden), known)
	if p.Image == "" && size != "" {
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil || n <= 0 || n > 1<<30 {
			return attribute.Invalid("deployment plan %q has the VolumeSize %.64q: it is a number of MiB, at most 1 PiB", p.Name, size)
		}
		r.Size = n << 20
	}
	if build == nil && len(r.Values) > 0 {
		return attribute.Invalid("deployment plan %q has values but no build plan that they are for", p.Name)
	}
	if build == nil {
		return nil
	}
	if err := build.CheckValues(r.Values); err != nil {
		return attribute.Invalid("deployment plan %q: %v", p.Name, err)
	}
	return nil
}

// PreviewBundle tells what an import would do.
func (b *backend) PreviewBundle(ctx context.Context, name string, on v1.Conflict) (list []v1.BundleChange, err error) {
	err = b.withBundle(ctx, name, on, func(from *bundle.Bundle) error {
		disks, err := b.d.planImages(ctx, from, on)
		if err == nil {
			list, err = b.d.previewPlans(ctx, from, on, disks)
		}
		return err
	})
	return list, err
}

// withBundle opens a bundle that is kept.
func (b *backend) withBundle(ctx context.Context, name string, on v1.Conflict, fn func(*bundle.Bundle) error) error {
	if err := checkConflict(on); err != nil {
		return err
	}
	res, err := b.bundle(ctx, name)
	if err != nil {
		return err
	}
	var f *os.File
	f, from, err := b.d.openBundle(res)
	if err != nil {
		return err
	}
	defer f.Close()
	return fn(from)
}

// previewPlans tells what importing the plans would do, whose images are here.
func (d *Daemon) previewPlans(ctx context.Context, from *bundle.Bundle, on v1.Conflict, disks map[string]imageUse) (list []v1.BundleChange, err error) {
	s, _, err := d.life(ctx)
	if err != nil {
		return nil, err
	}
	err = s.Update(ctx, store.Cause{Who: whoOf(ctx), Why: "bundle import"}, func(tx *store.Tx) error {
		if list, err = importInto(tx, from, on, disks); err != nil {
			return err
		}
		return errDry
	})
	if errors.Is(err, errDry) {
		return list, nil
	}
	return nil, err
}

// importInto makes the plans in an update.
func importInto(tx *store.Tx, from *bundle.Bundle, on v1.Conflict, disks map[string]imageUse) ([]v1.BundleChange, error) {
	im := &bundleImport{planImport: planImport{tx: tx}, from: from, on: on, disks: disks}
	if err := im.run(); err != nil {
		return nil, err
	}
	for _, c := range im.changes { // plans of others that were brought up to date
		im.result = append(im.result, v1.BundleChange{Kind: string(planKinds()[c.Kind]), Name: c.Name, Change: c.Change})
	}
	return im.result, nil
}
