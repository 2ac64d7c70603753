package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

const (
	// deployments bounds how many run at once; more wait, and take turns.
	deployments = 8
	// deployDeadline ends a deployment that hangs.
	deployDeadline = time.Hour
	deployKindName = "deploy"
)

// deployment is what a deployment needs to know, read in one state of the store.
type deployment struct {
	plan  *model.DeploymentPlan
	image string
	// imageID is what the plan was imported with: the name may be another's now.
	imageID string
	build   personalize.BuildPlan
	steps   []personalize.Step
}

func (b *backend) deployment(ctx context.Context, name string) (d deployment, err error) {
	err = b.view(ctx, func(r *store.Reader) error {
		res, err := r.ByName(model.DeploymentPlans, name)
		if err != nil {
			return err
		}
		d, err = readDeployment(r, res.(*model.DeploymentPlan))
		return err
	})
	return d, err
}

// readDeployment reads all that a plan stands on.
func readDeployment(r *store.Reader, plan *model.DeploymentPlan) (d deployment, err error) {
	d.plan = plan
	if plan.Image != "" {
		res, err := r.Get(plan.Image)
		if err != nil {
			return d, err
		}
		golden := res.(*model.GoldenImage)
		d.image, d.imageID = golden.Image, golden.ImageID
	}
	if plan.BuildPlan == "" {
		return d, nil
	}
	res, err := r.Get(plan.BuildPlan)
	if err != nil {
		return d, err
	}
	d.build = res.(*model.BuildPlan).BuildPlan
	d.steps, err = stepsOf(r, d.build)
	return d, err
}

// program is what the deployment runs, with the values that it was given.
func (d deployment) program(req v1.DeployRequest) *program {
	in := inputs{
		Definitions: d.build.Attributes, Plan: d.plan.Values, Fixed: d.plan.Fixed, Profile: req.Values, ProfileName: req.Name,
		System: map[string]string{},
	}
	if d.image == "" {
		in.System[attribute.VolumeSize] = strconv.FormatInt(d.plan.Size>>20, 10)
	}
	return &program{Steps: d.stepsFor(req), Inputs: in}
}

// stepsFor are the plan's; two servers shall not share what the image's machine was
// known by, unless the request says so.
func (d deployment) stepsFor(req v1.DeployRequest) []personalize.Step {
	if d.image == "" || req.AsIs {
		return d.steps
	}
	return personalize.Generalized(d.steps)
}

// Preview checks a deployment and shows its program.
func (b *backend) Preview(ctx context.Context, req v1.DeployRequest) (p v1.Preview, err error) {
	d, plan, err := b.prepare(ctx, req)
	if err != nil {
		return p, err
	}
	if info, err := b.Image(ctx, d.image); d.image != "" && err == nil {
		if err := sameImage(d.image, d.imageID, info.ID); err != nil {
			return p, err
		}
	}
	p = v1.Preview{Plan: req.Plan, Name: req.Name, Image: d.image, Size: d.plan.Size, Values: plan.Values.All()}
	return showProgram(p, plan)
}

// showProgram adds the program to a preview, for programs and for people.
func showProgram(p v1.Preview, plan *personalize.Plan) (_ v1.Preview, err error) {
	if p.Steps, err = json.Marshal(plan.Steps); err != nil {
		return p, err
	}
	var text strings.Builder
	err = plan.Print(&text)
	p.Text = text.String()
	return p, err
}

func (b *backend) prepare(ctx context.Context, req v1.DeployRequest) (d deployment, plan *personalize.Plan, err error) {
	if err := blockstore.CheckName("a volume", req.Name); err != nil {
		return d, nil, err
	}
	if d, err = b.deployment(ctx, req.Plan); err != nil {
		return d, nil, err
	}
	plan, err = d.program(req).compile()
	return d, plan, err
}

// deployInput is the input of a task.
type deployInput struct {
	Plan  string
	Name  string
	Image string
	// ImageID is "" in tasks of versions that went by the name alone.
	ImageID string `json:",omitempty"`
	Size    int64
	// Program is a sealed program; empty where there are no steps.
	Program []byte `json:",omitempty"`
	// Keep leaves a volume whose steps failed as it is.
	Keep bool `json:",omitempty"`
}

// sameImage refuses an image that has the name of the one that is meant.
func sameImage(name, want, got string) error {
	if want == "" || want == got {
		return nil
	}
	return attribute.Invalid("golden image %q is not the one that the plan was imported with (%s) but another of that name (%s): import the deployment plan again to use it", name, want, got)
}

// Deploy makes an OS volume, as a task.
func (b *backend) Deploy(ctx context.Context, req v1.DeployRequest, requestID string) (task.Info, error) {
	d, _, err := b.prepare(ctx, req)
	if err != nil {
		return task.Info{}, err
	}
	_, tasks, err := b.d.life(ctx)
	if err != nil {
		return task.Info{}, err
	}
	in, err := b.input(d, req, req.Name)
	if err != nil {
		return task.Info{}, err
	}
	if in.Keep = req.Keep; len(in.Program) > 0 {
		if err := b.d.cells.ready(ctx); err != nil {
			return task.Info{}, d.unready(err)
		}
	}
	return tasks.Submit(ctx, task.Request{
		Kind: deployKindName, Name: "deploy " + req.Name, Owner: whoOf(ctx), Subject: "volume " + req.Name, Key: requestID,
		Input: in,
	})
}

// unready says what else there is where only the identity needs a sandbox.
func (d deployment) unready(err error) error {
	var e *v1.Error
	if len(d.steps) > 0 || !errors.As(err, &e) {
		return err
	}
	told := *e
	told.Advice += " The plan has no steps: '--as-is' deploys without a sandbox, and the volume keeps the host keys and the machine ID of its image."
	return &told
}

// input is what makes the volume of a name, in any task whose kind has the steps
// of a deployment.
func (b *backend) input(d deployment, req v1.DeployRequest, volume string) (in deployInput, err error) {
	in = deployInput{Plan: d.plan.Name, Name: volume, Image: d.image, ImageID: d.imageID, Size: d.plan.Size}
	p := d.program(req)
	if len(p.Steps) == 0 {
		return in, nil
	}
	text, err := p.encode()
	if err != nil {
		return in, err
	}
	in.Program = b.d.lifecycle.sealer.seal(volume, text)
	return in, nil
}

// deployKind clones the image and runs the steps on it. What is undone is removed
// only if the task made it: the volume carries the task's name as its owner.
func (d *Daemon) deployKind() task.Kind[*store.Tx] {
	return task.Kind[*store.Tx]{Name: deployKindName, Deadline: deployDeadline, Steps: []task.Step[*store.Tx]{
		{Name: "clone", Do: d.cloneStep, Undo: d.undoClone},
		{Name: "personalize", Weight: 20, Do: d.personalize},
	}}
}

const clonedKey = "cloned"

func (d *Daemon) cloneStep(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	var in deployInput
	if err := r.Input(&in); err != nil {
		return nil, err
	}
	if err := d.clone(ctx, r, in, r.RequestID()); err != nil {
		return nil, err
	}
	if len(in.Program) > 0 {
		if _, err := d.hold(ctx, r.ID(), in.Name); err != nil {
			return nil, err
		}
	}
	return nil, r.Put(clonedKey, true)
}

func (d *Daemon) clone(ctx context.Context, r *task.Run, in deployInput, requestID string) error {
	info, err := d.store.CreateVolume(ctx, blockstore.CloneRequest{
		Name: in.Name, Image: in.Image, Size: in.Size, Owner: taskOwner(r), RequestID: requestID,
	})
	if err != nil {
		return err
	}
	// The volume tells what it was made of, also one that an earlier run made. What
	// is wrong is undone.
	if err := sameImage(in.Image, in.ImageID, info.ImageID); err != nil {
		return err
	}
	r.Logf("volume %s of %d bytes from %s", info.Name, info.Size, orEmptyDisk(in.Image))
	return r.Result(info)
}

func (d *Daemon) undoClone(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	var in deployInput
	if err := r.Input(&in); err != nil {
		return nil, err
	}
	defer d.letGo(r.ID())
	info, err := d.store.Volume(ctx, in.Name)
	if errors.Is(err, blockstore.ErrNotFound) || err == nil && info.Owner != taskOwner(r) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if cloned, err := r.Get(clonedKey, new(bool)); err != nil || cloned && in.Keep {
		r.Logf("volume %s is kept as the steps left it: look at it with 'goldstream mount', then delete it", in.Name)
		return nil, err
	}
	return nil, d.store.DeleteVolume(ctx, in.Name, r.RequestID())
}

// ownerOfTasks begins the owner labels of volumes that tasks made.
const ownerOfTasks = "task/"

func taskOwner(r *task.Run) string { return ownerOfTasks + r.ID() }

func orEmptyDisk(image string) string {
	if image == "" {
		return "nothing"
	}
	return "image " + image
}
