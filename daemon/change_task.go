package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/rules"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
)

const (
	changeKindName = "change"
	// defaultGrace is how long a deleted volume can be restored.
	defaultGrace = 24 * time.Hour
	taskPrefix   = "/rest/tasks/"
)

func taskURI(id string) model.URI { return model.URI(taskPrefix + id) }
func taskID(uri model.URI) string { return strings.TrimPrefix(string(uri), taskPrefix) }
func (w *work) builds() bool      { return w.New != nil }
func (m *move) takesAway() bool {
	return rules.Decision{Action: m.Action}.Destroys() && m.OldName != ""
}
func (m *move) cutsOff() bool {
	return m.takesAway() || m.Export != rules.KeepExport // also to open: a fence before may have failed
}
func (m *move) getsVolume() bool { return m.Action == rules.Create || m.Action == rules.Regenerate }
func (m *move) opensOld() bool   { return m.Export == rules.OpenExport || m.Export == rules.MoveExport }
func (m *move) says() string     { return strings.Join(m.Reasons, "; ") }
func (m *move) rows() string     { return strings.Join(m.Rows, ", ") }

// work is the input of a task: what is done to volumes. The steps of a
// deployment read what is theirs of it; without New there is nothing to deploy.
type work struct {
	deployInput
	New   *newVolume `json:",omitempty"`
	Moves []move
}

// newVolume is what a volume becomes that is made.
type newVolume struct {
	URI, Home model.URI
	Size      int64
	Made      model.Made
}

// move is what happens to the volume of one profile.
type move struct {
	Profile model.URI
	Name    string // of the profile
	Action  rules.Action
	Export  rules.Export
	Rows    []string
	Reasons []string
	Old     model.URI `json:",omitempty"`
	OldName string    `json:",omitempty"`
	OldID   string    `json:",omitempty"` // the block store's
	Stays   bool      // the old export is closed if this fails
	Gone    bool      // the profile is deleted
	Owed    []string  `json:",omitempty"` // of the profile, still
}

func moveOf(d rules.Decision, before, p *model.ServerProfile, v *model.OSVolume) move {
	m := move{Profile: p.URI, Name: p.Name, Action: d.Action, Export: d.Export, Reasons: d.Reasons}
	for _, r := range d.Rows {
		m.Rows = append(m.Rows, string(r))
	}
	if v != nil {
		m.Old, m.OldName, m.OldID = v.URI, v.Name, v.VolumeID
		// Whoever has it open is not, or not yet, the server that the profile names.
		m.Stays = v.Closed || d.Export != rules.KeepExport || rules.StaysClosed(d) || before != nil && before.Hardware != p.Hardware
	}
	return m
}

// volumeName is what the block store calls the volume of a profile. No two are
// alike, and no letter is one that export names may not have.
func volumeName(profile string, uri model.URI) string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)) {
			return r
		}
		return '-'
	}, profile)
	name = strings.TrimLeft(name[:min(len(name), 48)], "._-")
	return strings.TrimPrefix(name+"-"+strings.ReplaceAll(uri.ID(), "-", "")[:12], "-")
}

type (
	stepFunc = func(context.Context, *task.Run) (task.Commit[*store.Tx], error)
	workFunc = func(context.Context, *task.Run, *work) (task.Commit[*store.Tx], error)
)

// changeKind does to volumes what the rules said. Up to the swap all is undone
// when something fails, and the profile keeps its old volume; after it nothing
// is: what cannot be done then is left to the next start.
func (d *Daemon) changeKind(s *store.Store) task.Kind[*store.Tx] {
	steps := []task.Step[*store.Tx]{{Name: string(rules.Intent), Do: withWork(d.begin), Undo: withWork(d.giveUp)}}
	for _, s := range d.deployKind().Steps {
		steps = append(steps, task.Step[*store.Tx]{Name: s.Name, Weight: s.Weight, Do: d.building(s.Do), Undo: undoing(d.building(s.Undo))})
	}
	steps = append(steps,
		task.Step[*store.Tx]{Name: string(rules.Fence), Do: withWork(d.fenceOld), Undo: undoing(withWork(d.unfenceOld))},
		task.Step[*store.Tx]{Name: string(rules.Swap), Do: withWork(d.swap), NoReturn: true},
		task.Step[*store.Tx]{Name: string(rules.Retire), Do: withWork(d.retireOld)},
		task.Step[*store.Tx]{Name: string(rules.OpenToUser), Do: withWork(d.opening(s).openNew)},
	)
	for i, s := range steps {
		steps[i].Do, steps[i].Undo = d.pointed(s.Name, s.Do), d.pointed("undo "+s.Name, s.Undo)
	}
	return task.Kind[*store.Tx]{Name: changeKindName, Deadline: deployDeadline, Steps: steps}
}

// pointed is a step with failpoints around it.
func (d *Daemon) pointed(name string, f stepFunc) stepFunc {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
		d.opts.failpoint("before " + name)
		also, err := f(ctx, r)
		d.opts.failpoint("after " + name)
		return also, err
	}
}

func withWork(f workFunc) stepFunc {
	return func(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
		var w work
		if err := r.Input(&w); err != nil {
			return nil, err
		}
		return f(ctx, r, &w)
	}
}

// building is a step of a deployment, where there is something to deploy. Nobody
// opens the volume meanwhile.
func (d *Daemon) building(f stepFunc) stepFunc {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
		var w work
		if err := r.Input(&w); err != nil || !w.builds() {
			return nil, err
		}
		d.exports.close(w.deployInput.Name, true)
		return f(ctx, r)
	}
}

// undoing is an undo that does nothing once volumes were swapped.
func undoing(f stepFunc) stepFunc {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, r *task.Run) (task.Commit[*store.Tx], error) {
		if hasSwapped(r) {
			return nil, nil
		}
		return f(ctx, r)
	}
}

func (d *Daemon) begin(_ context.Context, r *task.Run, w *work) (task.Commit[*store.Tx], error) {
	for _, m := range w.Moves {
		r.Logf("profile %s: %s (row %s): %s", m.Name, m.Action, m.rows(), m.says())
	}
	return nil, nil
}

// fenceOld closes exports and cuts off who has them open.
func (d *Daemon) fenceOld(ctx context.Context, r *task.Run, w *work) (task.Commit[*store.Tx], error) {
	var closed []model.URI
	for _, m := range w.Moves {
		if !m.cutsOff() {
			continue
		}
		d.exports.close(m.OldName, true)
		lift, err := d.cutOff(ctx, m.OldName)
		if err != nil {
			return nil, fmt.Errorf("the clients of volume %q are not all gone: %w", m.OldName, err)
		}
		lift() // it is closed
		r.Logf("export of volume %s closed", m.OldName)
		closed = append(closed, m.Old)
	}
	return setClosed(closed, true), nil
}

func setClosed(volumes []model.URI, closed bool) task.Commit[*store.Tx] {
	return func(tx *store.Tx) error {
		for _, uri := range volumes {
			err := editVolume(tx, uri, func(v *model.OSVolume) { v.Closed = closed })
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func editVolume(tx *store.Tx, uri model.URI, edit func(*model.OSVolume)) error {
	res, err := tx.Get(uri)
	if err != nil {
		return err
	}
	v := res.(*model.OSVolume)
	edit(v)
	return tx.Save(v)
}

// swap is the commit after which profiles have their new volumes.
func (d *Daemon) swap(ctx context.Context, _ *task.Run, w *work) (task.Commit[*store.Tx], error) {
	var made blockstore.VolumeInfo
	if w.builds() {
		var err error
		if made, err = d.store.Volume(ctx, w.deployInput.Name); err != nil {
			return nil, err
		}
		d.exports.close(w.deployInput.Name, true) // until its server gets it
	}
	now, grace := time.Now().UTC(), d.grace()
	return func(tx *store.Tx) error {
		for i := range w.Moves {
			if err := swapOne(tx, w, &w.Moves[i], made, now, now.Add(grace)); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func swapOne(tx *store.Tx, w *work, m *move, made blockstore.VolumeInfo, now, until time.Time) error {
	res, err := tx.Get(m.Profile)
	if err != nil {
		return err
	}
	p := res.(*model.ServerProfile)
	if m.takesAway() {
		p.Volume = ""
		err := editVolume(tx, m.Old, func(v *model.OSVolume) { v.Retired, v.Until, v.Closed = now, until, true })
		if err != nil {
			return err
		}
	}
	if m.getsVolume() {
		v := &model.OSVolume{
			Meta: model.Meta{URI: w.New.URI, Name: w.deployInput.Name}, VolumeID: made.ID,
			Home: w.New.Home, Profile: p.URI, Made: w.New.Made, Size: made.Size, Closed: true,
		}
		if err := tx.Create(v); err != nil {
			return err
		}
		p.Volume = v.URI
	}
	if m.Gone {
		return tx.Delete(p.URI, p.ETag)
	}
	p.Owed = m.Owed // the task goes on: nobody changes the profile before it has ended
	return tx.Save(p)
}

// retireOld has the block store retire what nobody has any more. What cannot be
// now, because somebody reads it, is at the next start.
func (d *Daemon) retireOld(ctx context.Context, r *task.Run, w *work) (task.Commit[*store.Tx], error) {
	for _, m := range w.Moves {
		if !m.takesAway() {
			continue
		}
		if err := d.retire(ctx, m.OldName, m.OldID, r.RequestID()+"/"+m.OldName, d.grace()); err != nil {
			r.Logf("volume %s is left until the next start: %v", m.OldName, err)
			continue
		}
		r.Logf("volume %s retired; it can be restored for %v", m.OldName, d.grace())
	}
	return nil, nil
}

// retire takes a volume out of the block store's names. One that is gone is, also
// where another has its name by now.
func (d *Daemon) retire(ctx context.Context, name, id, requestID string, keep time.Duration) error {
	info, err := d.store.Volume(ctx, name)
	d.opts.failpoint("looked up " + name)
	switch {
	case errors.Is(err, blockstore.ErrNotFound), err == nil && !sameVolume(id, info):
		d.exports.close(name, false) // to whom has the name now, or next
		return nil
	case err != nil:
		return err
	}
	lift, err := d.cutOff(ctx, name)
	if err != nil {
		return err
	}
	defer lift()
	err = d.store.RetireVolumeOf(ctx, name, info.ID, keep, requestID)
	if err == nil || errors.Is(err, blockstore.ErrNotFound) {
		d.exports.close(name, false) // that volume does not have the name any more
		return nil
	}
	return err
}

// hasSwapped tells that there is no way back: profiles have their new volumes.
func hasSwapped(r *task.Run) bool { return r.Done(string(rules.Swap)) }
