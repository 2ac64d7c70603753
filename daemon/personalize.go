package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"goldstream/blockstore"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
	"goldstream/personalize/sandbox"
	"goldstream/personalize/session"
)

// leaseEnd is how long a cell may take to end, and the store to make durable what
// was written.
const leaseEnd = 2 * time.Minute

// holds are the volumes that deployments of this process keep for themselves: from
// the clone until the last step has run, nobody else opens a volume that is half
// made.
type holds struct {
	mu    sync.Mutex
	lifts map[string]func() // by task
	// shields are holds that their tasks do not know of yet.
	shields map[string]bool
}

// hold bars the volume of a task. fresh tells that the task did not hold it yet.
func (d *Daemon) hold(ctx context.Context, task, volume string) (fresh bool, err error) {
	d.holds.mu.Lock()
	_, held := d.holds.lifts[task]
	fresh = d.holds.shields[task]
	delete(d.holds.shields, task)
	d.holds.mu.Unlock()
	if held {
		return fresh, nil
	}
	wait, cancel := context.WithTimeout(ctx, alonePatience)
	defer cancel()
	lift, err := d.barAlone(wait, volume)
	if err != nil {
		return false, err
	}
	d.holds.mu.Lock()
	defer d.holds.mu.Unlock()
	d.holds.keepLocked(task, lift)
	return true, nil
}

// shieldVolume holds the volume of a task that an earlier process has begun, before
// the task runs: to it the hold is fresh.
func (d *Daemon) shieldVolume(task, volume string) {
	lift := d.exports.bar(volume)
	d.holds.mu.Lock()
	defer d.holds.mu.Unlock()
	d.holds.keepLocked(task, lift)
	d.holds.shields[task] = true
}

func (h *holds) keepLocked(task string, lift func()) {
	if h.lifts == nil {
		h.lifts, h.shields = map[string]func(){}, map[string]bool{}
	}
	h.lifts[task] = lift
}

func (d *Daemon) letGo(task string) {
	d.holds.mu.Lock()
	defer d.holds.mu.Unlock()
	if lift := d.holds.lifts[task]; lift != nil {
		lift()
		delete(d.holds.lifts, task)
		delete(d.holds.shields, task)
	}
}

// personalize runs the steps of the build plan on the volume.
func (d *Daemon) personalize(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
	var in deployInput
	if err := r.Input(&in); err != nil {
		return nil, err
	}
	if len(in.Program) == 0 {
		d.letGo(r.ID()) // at a start all volumes of tasks are held
		return nil, nil
	}
	plan, err := d.openProgram(r, in.Name, in.Program)
	if err != nil {
		return nil, err
	}
	fresh, err := d.hold(ctx, r.ID(), in.Name)
	if err != nil {
		return nil, err
	}
	if fresh { // an earlier process may have been at it: steps run on a clone that nobody wrote to
		if err := d.cloneAgain(ctx, r, in); err != nil {
			return nil, err
		}
	}
	if err := d.runPlan(ctx, r, in.Name, plan); err != nil {
		return nil, err
	}
	d.letGo(r.ID())
	return nil, nil
}

// openProgram opens what was sealed for a task, whose log hides its secrets from now
// on.
func (d *Daemon) openProgram(r *task.Run, label string, sealed []byte) (*personalize.Plan, error) {
	text, err := d.lifecycle.sealer.open(label, sealed)
	if err != nil {
		return nil, err
	}
	p, err := decodeProgram(text)
	if err != nil {
		return nil, err
	}
	plan, err := p.compile()
	if err != nil {
		return nil, err
	}
	r.Hide(attribute.NewMasker(plan.Values.Secrets()).Mask)
	return plan, nil
}

// runPlan runs a program on a volume.
func (d *Daemon) runPlan(ctx context.Context, r *task.Run, volume string, plan *personalize.Plan) error {
	return d.runSteps(ctx, r, volume, func(ctx context.Context, l *sandbox.Lease) error {
		return session.Run(ctx, l.Cell, plan, session.Options{Logf: r.Logf, Progress: r.Progress, Local: d.cells.script, RSAKey: d.cells.rsaKey})
	})
}

// runSteps has f work on a volume in a cell, and the volume made durable after. The
// store's errors are an error, whatever the cell was told.
func (d *Daemon) runSteps(ctx context.Context, r *task.Run, volume string, f func(context.Context, *sandbox.Lease) error) error {
	began := time.Now()
	lease, done, err := d.cells.take(ctx, volume)
	if err != nil {
		return err
	}
	defer done()
	r.Logf("a sandbox has the volume after %v", time.Since(began).Round(time.Millisecond))
	d.opts.failpoint("attached")
	err = f(ctx, lease)
	d.opts.failpoint("stepped")
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseEnd)
	defer cancel()
	if e := lease.Close(end); err == nil && e != nil {
		err = fmt.Errorf("the steps have run, but what they wrote is not safe: %w", e)
	} else {
		err = errors.Join(err, e)
	}
	d.opts.failpoint("detached")
	return err
}

// cloneAgain puts a fresh clone in the place of one that steps have perhaps changed.
func (d *Daemon) cloneAgain(ctx context.Context, r *task.Run, in deployInput) error {
	old, err := d.store.Volume(ctx, in.Name)
	switch {
	case errors.Is(err, blockstore.ErrNotFound): // the kill came in between
	case err != nil:
		return err
	case old.Owner != taskOwner(r):
		return fmt.Errorf("volume %q is not that of this task any more, but of %q: %w", in.Name, old.Owner, blockstore.ErrExists)
	default:
		if err := d.store.DeleteVolume(ctx, in.Name, ""); err != nil {
			return err
		}
	}
	d.opts.failpoint("deleted")
	r.Logf("the daemon was stopped meanwhile: all steps run again, on a fresh clone")
	return d.clone(ctx, r, in, fmt.Sprintf("%s/%d", r.RequestID(), r.Fence()))
}
