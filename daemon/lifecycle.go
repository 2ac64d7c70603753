package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"sync"

	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
)

// lifecycle is the store of plans and tasks, opened when it is first needed:
// most commands never do, and disks are served even where it is damaged.
type lifecycle struct {
	mu     sync.Mutex
	closed bool
	store  *store.Store
	tasks  *task.Engine[*store.Tx]
}

// life returns the open store and the engine that runs its tasks.
func (d *Daemon) life(ctx context.Context) (*store.Store, *task.Engine[*store.Tx], error) {
	if err := d.changeable(); err != nil { // opening it writes
		return nil, nil, err
	}
	l := &d.lifecycle
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, task.ErrClosed
	}
	if l.store != nil {
		return l.store, l.tasks, nil
	}
	s, err := store.Open(filepath.Join(d.dir, "lifecycle"), store.Options{Logger: d.log})
	if err != nil {
		return nil, nil, err
	}
	kinds := []task.Kind[*store.Tx]{d.deployKind()}
	engine, err := task.Open[*store.Tx](context.WithoutCancel(ctx), s, kinds, task.Options{Logger: d.log, Workers: deployments})
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	l.store, l.tasks = s, engine
	return s, engine, nil
}

// endTasks stops tasks where they are; they go on at the next start.
func (d *Daemon) endTasks() error {
	l := &d.lifecycle
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.store == nil {
		return nil
	}
	l.tasks.Close()
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
	return tasks.Cancel(id)
}
