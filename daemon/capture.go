package daemon

import (
	"context"
	"errors"
	"fmt"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

const captureKindName = "capture"

// captureInput is the input of a task. The clone and the snapshot that it is of are
// called after the task.
type captureInput struct {
	Volume   string
	VolumeID string
	Image    string
	// Program is a sealed program; empty where there are no steps.
	Program []byte `json:",omitempty"`
}

// Capture makes a golden image of a volume, as a task: the steps of a capture plan
// run on a clone of it, which is then sealed. The volume itself stays as it is, in
// use or not.
func (b *backend) Capture(ctx context.Context, req v1.CaptureByPlan, requestID string) (task.Info, error) {
	in, err := b.captureInput(ctx, req, requestID)
	if err != nil {
		return task.Info{}, err
	}
	_, tasks, err := b.d.life(ctx)
	if err != nil {
		return task.Info{}, err
	}
	if len(in.Program) > 0 {
		if err := b.d.cells.ready(ctx); err != nil {
			return task.Info{}, err
		}
	}
	return tasks.Submit(ctx, task.Request{
		Kind: captureKindName, Name: "capture " + req.Volume + " as " + req.Name, Owner: whoOf(ctx), Subject: "golden image " + req.Name, Key: requestID,
		Input: in,
	})
}

// captureInput checks all that can be wrong before anything is made.
func (b *backend) captureInput(ctx context.Context, req v1.CaptureByPlan, requestID string) (in captureInput, err error) {
	if err := blockstore.CheckName("a golden image", req.Name); err != nil {
		return in, err
	}
	volume, err := b.Volume(ctx, req.Volume)
	if err != nil {
		return in, err
	}
	if _, err := b.Image(ctx, req.Name); err == nil && requestID == "" {
		return in, fmt.Errorf("golden image %q: %w", req.Name, blockstore.ErrExists)
	}
	in = captureInput{Volume: req.Volume, VolumeID: volume.ID, Image: req.Name}
	p, _, err := b.captureProgram(ctx, req.Plan)
	if err != nil || len(p.Steps) == 0 {
		return in, err
	}
	text, err := p.encode()
	if err != nil {
		return in, err
	}
	in.Program = b.d.lifecycle.sealer.seal(req.Name, text)
	return in, nil
}

// captureProgram is what a capture plan runs; no plan has no steps. It has no
// attributes: defaults that stand in scripts are all there is.
func (b *backend) captureProgram(ctx context.Context, name string) (p *program, plan *personalize.Plan, err error) {
	p = &program{Inputs: inputs{System: map[string]string{}}}
	if name == "" {
		return p, &personalize.Plan{}, nil
	}
	err = b.view(ctx, func(r *store.Reader) error {
		res, err := find(r, model.BuildPlans, name)
		if err != nil {
			return err
		}
		build := res.(*model.BuildPlan)
		if build.Type != personalize.Capture {
			return attribute.Invalid("build plan %q is for deployments: a capture runs one of type capture", name)
		}
		p.Steps, err = stepsOf(r, build.BuildPlan)
		return err
	})
	if err != nil {
		return p, nil, err
	}
	plan, err = p.compile()
	return p, plan, err
}

// captureKind clones, runs the steps and seals. Until then nothing is there but a
// clone and a snapshot, which an undo removes; after that the image is done, and
// what is left to do is to tidy.
func (d *Daemon) captureKind() task.Kind[*store.Tx] {
	return task.Kind[*store.Tx]{Name: captureKindName, Deadline: deployDeadline, Steps: []task.Step[*store.Tx]{
		{Name: "clone", Do: d.captureClone, Undo: d.undoCapture},
		{Name: "generalize", Weight: 20, Do: d.generalize},
		{Name: "seal", Do: d.captureSeal, Undo: d.undoCaptureSeal, NoReturn: true},
		{Name: "tidy", Do: d.captureTidy},
	}}
}

// captureName is what the clone and its snapshot are called.
func captureName(r *task.Run) string { return "capture-" + r.ID() }

func (d *Daemon) captureClone(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	var in captureInput
	if err := r.Input(&in); err != nil {
		return nil, err
	}
	volume, err := d.store.Volume(ctx, in.Volume)
	if err != nil {
		return nil, err
	}
	if volume.ID != in.VolumeID {
		return nil, fmt.Errorf("volume %q is not the one that was meant any more, but another of that name: %w", in.Volume, blockstore.ErrNotFound)
	}
	if volume.Open > 0 {
		r.Logf("volume %s is in use: the image has what was written by now, as after a power cut", in.Volume)
	}
	_, err = d.store.CreateSnapshot(ctx, in.Volume, blockstore.SnapshotRequest{Name: captureName(r), Owner: taskOwner(r), RequestID: r.RequestID() + "/snapshot"})
	if err != nil {
		return nil, err
	}
	d.opts.failpoint("snapshot")
	return nil, d.cloneCaptured(ctx, r, in, r.RequestID())
}

func (d *Daemon) cloneCaptured(ctx context.Context, r *task.Run, in captureInput, requestID string) error {
	info, err := d.store.CreateVolume(ctx, blockstore.CloneRequest{
		Name: captureName(r), Volume: in.Volume, Snapshot: captureName(r), Owner: taskOwner(r), RequestID: requestID,
	})
	if err != nil {
		return err
	}
	r.Logf("volume %s of %d bytes is a clone of %s", info.Name, info.Size, in.Volume)
	_, err = d.hold(ctx, r.ID(), info.Name)
	return err
}

// generalize runs the steps of the capture plan on the clone.
func (d *Daemon) generalize(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	var in captureInput
	if err := r.Input(&in); err != nil || len(in.Program) == 0 {
		return nil, err
	}
	plan, err := d.openProgram(r, in.Image, in.Program)
	if err != nil {
		return nil, err
	}
	fresh, err := d.hold(ctx, r.ID(), captureName(r))
	if err != nil {
		return nil, err
	}
	if fresh { // as at a deployment: steps run on a clone that nobody wrote to
		if err := d.dropClone(ctx, r, ""); err != nil {
			return nil, err
		}
		r.Logf("the daemon was stopped meanwhile: all steps run again, on a fresh clone")
		if err := d.cloneCaptured(ctx, r, in, fmt.Sprintf("%s/%d", r.RequestID(), r.Fence())); err != nil {
			return nil, err
		}
	}
	return nil, d.runPlan(ctx, r, captureName(r), plan)
}

// dropClone removes the clone of a task, if it is there.
func (d *Daemon) dropClone(ctx context.Context, r *task.Run, requestID string) error {
	info, err := d.store.Volume(ctx, captureName(r))
	if errors.Is(err, blockstore.ErrNotFound) || err == nil && info.Owner != taskOwner(r) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.store.DeleteVolume(ctx, info.Name, requestID)
}

func (d *Daemon) captureSeal(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	var in captureInput
	if err := r.Input(&in); err != nil {
		return nil, err
	}
	if _, err := d.hold(ctx, r.ID(), captureName(r)); err != nil {
		return nil, err
	}
	info, err := d.store.CaptureImage(ctx, captureName(r), blockstore.ImportRequest{Name: in.Image, Owner: taskOwner(r), RequestID: r.RequestID()})
	if err != nil {
		return nil, err
	}
	d.opts.failpoint("captured")
	return nil, r.Result(info)
}

// undoCaptureSeal removes the image that a seal made whose success could not be
// written down.
func (d *Daemon) undoCaptureSeal(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	var in captureInput
	if err := r.Input(&in); err != nil {
		return nil, err
	}
	info, err := d.store.Image(ctx, in.Image)
	if errors.Is(err, blockstore.ErrNotFound) || err == nil && info.Owner != taskOwner(r) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return nil, d.store.DeleteImage(ctx, in.Image, r.RequestID())
}

// captureTidy removes what the image no longer needs. The image is done: what cannot
// be removed is told and left.
func (d *Daemon) captureTidy(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	if err := d.dropCapture(ctx, r); err != nil && ctx.Err() == nil {
		r.Logf("%s is left: %v; delete the volume and the snapshot of that name", captureName(r), err)
	}
	return nil, ctx.Err()
}

func (d *Daemon) undoCapture(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	return nil, d.dropCapture(ctx, r)
}

func (d *Daemon) dropCapture(ctx context.Context, r *task.Run) error {
	var in captureInput
	if err := r.Input(&in); err != nil {
		return err
	}
	defer d.letGo(r.ID())
	if err := d.dropClone(ctx, r, r.RequestID()+"/clone"); err != nil {
		return err
	}
	list, err := d.store.Snapshots(ctx, in.Volume)
	if errors.Is(err, blockstore.ErrNotFound) {
		return nil // the volume went with its snapshots
	}
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Name == captureName(r) && s.Owner == taskOwner(r) {
			return d.store.DeleteSnapshot(ctx, in.Volume, s.Name, r.RequestID()+"/snapshot")
		}
	}
	return nil
}

// PreviewCapture checks a capture and shows its program.
func (b *backend) PreviewCapture(ctx context.Context, req v1.CaptureByPlan) (p v1.Preview, err error) {
	if _, err := b.captureInput(ctx, req, ""); err != nil {
		return p, err
	}
	_, plan, err := b.captureProgram(ctx, req.Plan)
	if err != nil {
		return p, err
	}
	return showProgram(v1.Preview{Plan: req.Plan, Name: req.Name, Image: req.Volume}, plan)
}
