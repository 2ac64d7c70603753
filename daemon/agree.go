package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
)

// CheckProfiles lists where profiles and the block store do not agree. What a task
// works on is left out. Nothing is changed.
func (b *backend) CheckProfiles(ctx context.Context) ([]string, error) {
	s, tasks, err := b.d.life(ctx)
	if err != nil {
		return nil, err
	}
	// Each is read by itself: what a task changes in between looks wrong, but not
	// when it is read again.
	var found []string
	for try := range checkTries {
		a := agreement{tasks: map[string]task.Info{}}
		for _, i := range tasks.List() {
			a.tasks[i.ID] = i
		}
		if err := b.d.readBlocks(ctx, &a); err != nil {
			return nil, err
		}
		if err := s.View(ctx, a.compare); err != nil {
			return nil, err
		}
		if try > 0 {
			a.found = slices.DeleteFunc(a.found, func(f string) bool { return !slices.Contains(found, f) })
		}
		if found = a.found; len(found) == 0 {
			break
		}
	}
	slices.Sort(found)
	return found, nil
}

const checkTries = 3

// agreement is what the two databases hold.
type agreement struct {
	live, retired map[string]blockstore.VolumeInfo // by name
	tasks         map[string]task.Info
	found         []string
}

func (a *agreement) reportf(format string, args ...any) {
	a.found = append(a.found, fmt.Sprintf(format, args...))
}

func (d *Daemon) readBlocks(ctx context.Context, a *agreement) error {
	a.live, a.retired = map[string]blockstore.VolumeInfo{}, map[string]blockstore.VolumeInfo{}
	volumes, err := d.store.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		a.live[v.Name] = v
	}
	retired, err := d.store.RetiredVolumes(ctx)
	for _, v := range retired {
		a.retired[v.Name] = v.VolumeInfo
	}
	return err
}

// runs tells whether a task that is not finished works on a profile.
func (a *agreement) runs(p *model.ServerProfile) bool {
	i, known := a.tasks[taskID(p.Task)]
	return p.State == model.StateApplying && known && !i.State.Finished()
}

func (a *agreement) compare(r *store.Reader) error {
	known := map[string]bool{}
	if err := r.Each(model.ServerProfiles, func(res model.Resource) error {
		return a.profile(r, res.(*model.ServerProfile))
	}); err != nil {
		return err
	}
	err := r.Each(model.OSVolumes, func(res model.Resource) error {
		v := res.(*model.OSVolume)
		known[v.Name] = true
		return a.volume(r, v)
	})
	for name, info := range a.live {
		i, ours := a.tasks[strings.TrimPrefix(info.Owner, ownerOfTasks)]
		if ours && i.Kind == changeKindName && i.State.Finished() && !known[name] {
			a.reportf("volume %s was made by task %s for a profile and is nobody's: look at it and delete it", name, i.ID)
		}
	}
	return err
}

func (a *agreement) profile(r *store.Reader, p *model.ServerProfile) error {
	if a.runs(p) {
		return nil
	}
	if p.State == model.StateApplying {
		a.reportf("profile %s waits for task %s, which does not run: restart the daemon", p.Name, taskID(p.Task))
	}
	if p.Volume == "" {
		return nil
	}
	res, err := r.Get(p.Volume)
	if err != nil {
		return err
	}
	v := res.(*model.OSVolume)
	if v.IsRetired() || v.Profile != p.URI {
		a.reportf("profile %s has the volume %s, which is retired or another's", p.Name, v.Name)
	}
	return nil
}

func (a *agreement) volume(r *store.Reader, v *model.OSVolume) error {
	info, live := a.live[v.Name]
	live = live && sameVolume(v.VolumeID, info)
	_, retired := a.retired[v.Name]
	if v.IsRetired() {
		if live {
			a.reportf("volume %s is deleted and still in service: it is retired at the next start", v.Name)
		}
		return nil
	}
	if !live {
		a.reportf("volume %s of a profile is gone (retired: %v): restore it, or redeploy the profile", v.Name, retired)
	}
	res, err := r.Get(v.Profile)
	if errors.Is(err, store.ErrNotFound) {
		a.reportf("volume %s is that of a profile that is gone", v.Name)
		return nil
	}
	if err == nil && res.(*model.ServerProfile).Volume != v.URI {
		a.reportf("volume %s is that of profile %s, which has another", v.Name, res.Head().Name)
	}
	return err
}
