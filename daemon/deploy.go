package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// compile checks the values and yields the program.
func (d deployment) compile(req v1.DeployRequest) (*personalize.Plan, error) {
	in := attribute.Inputs{
		Definitions: d.build.Attributes, Plan: d.plan.Values, Fixed: d.plan.Fixed, Profile: req.Values, ProfileName: req.Name,
		System: map[string]string{},
	}
	if d.image == "" {
		in.System[attribute.VolumeSize] = strconv.FormatInt(d.plan.Size>>20, 10)
	}
	return personalize.Compile(d.steps, in)
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
	plan, err = d.compile(req)
	return d, plan, err
}

// deployInput is the input of a task. It has no values yet: nothing that runs
// takes any.
type deployInput struct {
	Plan  string
	Name  string
	Image string
	// ImageID is "" in tasks of versions that went by the name alone.
	ImageID string `json:",omitempty"`
	Size    int64
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
	in, err := d.input(req.Name)
	if err != nil {
		return task.Info{}, err
	}
	_, tasks, err := b.d.life(ctx)
	if err != nil {
		return task.Info{}, err
	}
	return tasks.Submit(ctx, task.Request{
		Kind: deployKindName, Name: "deploy " + req.Name, Owner: "api", Subject: "volume " + req.Name, Key: requestID,
		Input: in,
	})
}

// input is what makes the volume of a name, in any task whose kind has the steps
// of a deployment.
func (d deployment) input(volume string) (in deployInput, err error) {
	if len(d.steps) > 0 {
		return in, &v1.Error{
			Code:    v1.CodeInvalid,
			Message: fmt.Sprintf("deployment plan %q has a build plan of %d steps, which this version cannot run yet: nothing was made", d.plan.Name, len(d.steps)),
			Advice:  "See what it would run with --dry-run, or deploy a plan without a build plan.",
		}
	}
	return deployInput{d.plan.Name, volume, d.image, d.imageID, d.plan.Size}, nil
}

// deployKind clones the image. What is undone is removed only if the task made
// it: the volume carries the task's name as its owner.
func (d *Daemon) deployKind() task.Kind[*store.Tx] {
	return task.Kind[*store.Tx]{Name: deployKindName, Deadline: deployDeadline, Steps: []task.Step[*store.Tx]{{
		Name: "clone",
		Do: func(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
			var in deployInput
			if err := r.Input(&in); err != nil {
				return nil, err
			}
			info, err := d.store.CreateVolume(ctx, blockstore.CloneRequest{
				Name: in.Name, Image: in.Image, Size: in.Size, Owner: taskOwner(r), RequestID: r.RequestID(),
			})
			if err != nil {
				return nil, err
			}
			// The volume tells what it was made of, also one that an earlier
			// run made. What is wrong is undone.
			if err := sameImage(in.Image, in.ImageID, info.ImageID); err != nil {
				return nil, err
			}
			r.Logf("volume %s of %d bytes from %s", info.Name, info.Size, orEmptyDisk(in.Image))
			return nil, r.Result(info)
		},
		Undo: func(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
			var in deployInput
			if err := r.Input(&in); err != nil {
				return nil, err
			}
			info, err := d.store.Volume(ctx, in.Name)
			if errors.Is(err, blockstore.ErrNotFound) || err == nil && info.Owner != taskOwner(r) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			return nil, d.store.DeleteVolume(ctx, in.Name, r.RequestID())
		},
	}}}
}

func taskOwner(r *task.Run) string { return "task/" + r.ID() }

func orEmptyDisk(image string) string {
	if image == "" {
		return "nothing"
	}
	return "image " + image
}
