package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
)

// lifecycle is the store of profiles, plans and tasks, opened when it is first
// needed: most commands never do, and disks are served even where it is damaged.
type lifecycle struct {
	mu     sync.Mutex
	closed bool
	store  *store.Store
	tasks  *task.Engine[*store.Tx]
	sealer *sealer // set with store
	known  atomic.Pointer[lifeState]
}

// lifeState is how the last opening or closing of the lifecycle went.
type lifeState struct{ err error }

// life returns the open store and the engine that runs its tasks.
func (d *Daemon) life(ctx context.Context) (*store.Store, *task.Engine[*store.Tx], error) {
	s, tasks, fresh, err := d.openTasks(ctx)
	if fresh && err == nil {
		if err := d.openLeft(context.WithoutCancel(ctx), s); err != nil {
			d.log.Error("a volume that a profile's server may use stays closed: save the profile, or start again", "error", err)
		}
	}
	return s, tasks, err
}

// openTasks is life, and tells whether it has opened the engine.
func (d *Daemon) openTasks(ctx context.Context) (_ *store.Store, _ *task.Engine[*store.Tx], fresh bool, err error) {
	l := &d.lifecycle
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.known.Store(&lifeState{err}) }()
	if err := d.openStoreLocked(ctx); err != nil {
		return nil, nil, false, err
	}
	if l.tasks != nil {
		return l.store, l.tasks, false, nil
	}
	ctx = context.WithoutCancel(ctx)
	kinds := []task.Kind[*store.Tx]{d.deployKind(), d.changeKind(l.store), d.bundleImportTask(), d.bundleCreateTask(), d.captureKind()}
	engine, err := task.Open[*store.Tx](ctx, l.store, kinds, task.Options{
		Logger: d.log, Workers: deployments, Failpoint: d.opts.taskpoint, Unfinished: d.shield(ctx),
	})
	if err != nil {
		return nil, nil, false, err
	}
	l.tasks = engine
	if err := d.settle(ctx, l.store, engine); err != nil {
		d.log.Error("what an earlier run left of the lifecycle cannot be settled; tried again at the next start", "error", err)
	}
	return l.store, engine, true, nil
}

// openStore opens the store without running its tasks.
func (d *Daemon) openStore(ctx context.Context) error {
	if d.opts.ReadOnly {
		return nil
	}
	d.lifecycle.mu.Lock()
	defer d.lifecycle.mu.Unlock()
	return d.openStoreLocked(ctx)
}

func (d *Daemon) openStoreLocked(ctx context.Context) error {
	if err := d.changeable(); err != nil { // opening it writes
		return err
	}
	l := &d.lifecycle
	if l.closed { // a step of a task that asks is not at fault: it goes on at the next start
		return fmt.Errorf("the daemon is %w, and the store of profiles, plans and tasks %w", task.ErrStopping, task.ErrClosed)
	}
	if l.store != nil {
		return nil
	}
	s, err := store.Open(d.lifecycleDir(), store.Options{Logger: d.log})
	if err != nil {
		return err
	}
	if err := d.loadClosed(context.WithoutCancel(ctx), s); err != nil {
		return errors.Join(err, s.Close())
	}
	if err := d.sweepBundles(context.WithoutCancel(ctx), s); err != nil {
		d.log.Warn("files of artifact bundles are left that nobody knows", "error", err)
	}
	if l.sealer, err = openSealer(d.dir); err != nil {
		return errors.Join(err, s.Close())
	}
	l.store = s
	return nil
}

func (d *Daemon) lifecycleDir() string { return filepath.Join(d.dir, "lifecycle") }

// hasLifecycle tells whether there is a store: who asks for the owner of a volume
// shall not make one.
func (d *Daemon) hasLifecycle() (bool, error) {
	_, err := os.Stat(d.lifecycleDir())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// endTasks stops tasks where they are; they go on at the next start.
func (d *Daemon) endTasks() error {
	l := &d.lifecycle
	l.mu.Lock()
	l.closed = true
	l.known.Store(&lifeState{task.ErrClosed})
	tasks := l.tasks
	l.mu.Unlock()
	if tasks != nil {
		tasks.Close() // waits for steps, which may ask for the store: not under the lock
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store == nil {
		return nil
	}
	err := l.store.Close()
	l.store = nil
	return err
}

// Tasks lists the tasks that are kept.
func (b *backend) Tasks(ctx context.Context) ([]task.Info, error) {
	_, tasks, err := b.d.life(ctx)
	if err != nil {
		return nil, err
	}
	return tasks.List(), nil
}

// Task returns a task and a part of its log.
func (b *backend) Task(ctx context.Context, id string, behind uint64) (task.Info, error) {
	_, tasks, err := b.d.life(ctx)
	if err != nil {
		return task.Info{}, err
	}
	return tasks.Get(id, behind)
}

// WaitTask returns the task once it has another revision.
func (b *backend) WaitTask(ctx context.Context, id string, revision, behind uint64) (task.Info, error) {
	_, tasks, err := b.d.life(ctx)
	if err != nil {
		return task.Info{}, err
	}
	return tasks.Wait(ctx, id, revision, behind)
}

// CancelTask has a task undone.
func (b *backend) CancelTask(ctx context.Context, id string) (task.Info, error) {
	_, tasks, err := b.d.life(ctx)
	if err != nil {
		return task.Info{}, err
	}
	i, err := tasks.Cancel(id)
	if err == nil && i.Kind == changeKindName && i.State.Finished() { // it never began: nothing is undone
		s, _, err := b.d.life(ctx)
		if err != nil {
			return i, err
		}
		return i, errors.Join(b.d.failAbandoned(ctx, s, tasks), b.d.closeAbandoned(ctx, s, i.ID))
	}
	return i, err
}

// closeAbandoned takes volumes from servers that are not the profiles' any more,
// where the task that should have done so was cancelled before it began. In an
// update no other task of such a profile begins.
func (d *Daemon) closeAbandoned(ctx context.Context, s *store.Store, id string) error {
	var names []string
	err := s.Update(ctx, store.Cause{Who: "goldstream", Why: "the task of a profile was cancelled"}, func(tx *store.Tx) error {
		names = nil
		return tx.Each(model.ServerProfiles, func(res model.Resource) error {
			p := res.(*model.ServerProfile)
			if p.State != model.StateError || taskID(p.Task) != id || p.Volume == "" {
				return nil
			}
			res, err := tx.Get(p.Volume)
			if err != nil {
				return err
			}
			if v := res.(*model.OSVolume); v.Closed {
				d.exports.close(v.Name, true)
				names = append(names, v.Name)
			}
			return nil
		})
	})
	for _, name := range names {
		lift, errOut := d.cutOff(ctx, name)
		if errOut == nil {
			lift()
		}
		err = errors.Join(err, errOut)
	}
	return err
}
