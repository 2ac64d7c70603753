package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/task"
)

// ward is a site with real volumes: servers a1, a2 (type t1) and a3 (t2) in the
// logical enclosure l1, b1 (t1) and b2 (t2) in l2, and a profile web on a1.
type ward struct {
	*api
	t      *testing.T
	golden []byte // what a new volume reads as
}

const wardPlans = `
kind: DeploymentPlan
name: p1
image: debian
---
kind: DeploymentPlan
name: p2
image: debian
size: 4MiB
`

func newWard(t *testing.T) *ward {
	w := &ward{api: newAPI(t), t: t}
	w.importImage(t, "debian")
	disk, err := w.d.store.OpenImage(t.Context(), "debian")
	require.NoError(t, err)
	w.golden = make([]byte, disk.Size())
	require.NoError(t, disk.ReadAt(t.Context(), w.golden, 0))
	require.NoError(t, disk.Close())
	status, body := w.importPlans(t, wardPlans)
	require.Equal(t, 200, status, body)
	head := func(name string) v1.ResourceHead { return v1.ResourceHead{Name: name} }
	for _, r := range []v1.Resource{
		&v1.HardwareType{ResourceHead: head("t1")}, &v1.HardwareType{ResourceHead: head("t2")},
		&v1.Enclosure{ResourceHead: head("e1")}, &v1.Enclosure{ResourceHead: head("e2")}, &v1.Enclosure{ResourceHead: head("e3")},
		&v1.EnclosureGroup{ResourceHead: head("g1")}, &v1.EnclosureGroup{ResourceHead: head("g2")},
		&v1.LogicalEnclosure{ResourceHead: head("l1"), Group: "g1", Enclosures: []string{"e1", "e3"}},
		&v1.LogicalEnclosure{ResourceHead: head("l2"), Group: "g1", Enclosures: []string{"e2"}},
		&v1.Hardware{ResourceHead: head("a1"), Type: "t1", Enclosure: "e1"}, &v1.Hardware{ResourceHead: head("a2"), Type: "t1", Enclosure: "e1"},
		&v1.Hardware{ResourceHead: head("a3"), Type: "t2", Enclosure: "e1"},
		&v1.Hardware{ResourceHead: head("b1"), Type: "t1", Enclosure: "e2"}, &v1.Hardware{ResourceHead: head("b2"), Type: "t2", Enclosure: "e2"},
	} {
		_, err := w.CreateResource(t.Context(), r, v1.Change{})
		require.NoError(t, err)
	}
	plan := "p1"
	out, err := w.CreateResource(t.Context(), &v1.Profile{ResourceHead: head("web"), Hardware: "a1", Deployment: &v1.ProfileDeployment{Plan: &plan}}, v1.Change{})
	w.settled(out, err)
	return w
}

// settled waits for the task of a change.
func (w *ward) settled(out v1.Outcome, err error) v1.Outcome {
	w.t.Helper()
	require.NoError(w.t, err)
	if out.Task != nil {
		i := w.ended(w.t, *out.Task)
		require.Equal(w.t, task.Completed, i.State, "%+v", i.Failure)
	}
	return out
}

func (w *ward) profile() *v1.Profile {
	w.t.Helper()
	var p v1.Profile
	require.NoError(w.t, w.Resource(w.t.Context(), "web", &p))
	return &p
}

// save changes the profile as a client does that read it before.
func (w *ward) save(edit func(*v1.Profile)) (v1.Outcome, error) {
	p := w.profile()
	edit(p)
	return w.ReplaceResource(w.t.Context(), "web", p, v1.Change{})
}

func (w *ward) assign(server string) (v1.Outcome, error) {
	return w.save(func(p *v1.Profile) { p.Hardware = server })
}

func (w *ward) edit(r v1.Resource, name string, change func()) (v1.Outcome, error) {
	require.NoError(w.t, w.Resource(w.t.Context(), name, r))
	change()
	return w.ReplaceResource(w.t.Context(), name, r, v1.Change{})
}

// scribble writes something of its own to the volume and returns its digest.
func (w *ward) scribble() (name string, digest [32]byte) {
	name = w.profile().Volume
	require.NotEmpty(w.t, name)
	d, err := w.d.store.OpenVolume(w.t.Context(), name)
	require.NoError(w.t, err)
	p := make([]byte, 4096)
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	require.NoError(w.t, d.WriteAt(w.t.Context(), p, 8192, true))
	require.NoError(w.t, d.Close())
	return name, w.digest(name)
}

func (w *ward) digest(volume string) [32]byte {
	d, err := w.d.store.OpenVolume(w.t.Context(), volume)
	require.NoError(w.t, err)
	p := make([]byte, d.Size())
	require.NoError(w.t, d.ReadAt(w.t.Context(), p, 0))
	require.NoError(w.t, d.Close())
	return sha256.Sum256(p)
}

// consistent compares the two databases.
func (w *ward) consistent() {
	w.t.Helper()
	found, err := w.CheckProfiles(context.Background())
	require.NoError(w.t, err)
	require.Empty(w.t, found.Found)
	volumes, err := w.Volumes(context.Background())
	require.NoError(w.t, err)
	profiles, err := v1.ListResources[v1.Profile](context.Background(), w.Client, v1.ProfileCollection)
	require.NoError(w.t, err)
	owned := 0
	for _, p := range profiles {
		if p.Volume != "" {
			owned++
		}
		require.NotEqual(w.t, "Applying", p.State)
	}
	require.Len(w.t, volumes, owned, "volumes of nobody")
}

// What can become of the volume.
const (
	kept       = "kept"
	anew       = "made anew"
	gone       = "deleted"
	refused400 = "refused as wrong"
	refused409 = "refused as in the way"
)

// TestRules goes through the table with real volumes, row by row.
func TestRules(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, row := range []struct {
		row, name, want string
		before          func(w *ward) // brings about what the row is for
		do              func(w *ward) (v1.Outcome, error)
	}{
		{"1", "unassigned", kept, nil, func(w *ward) (v1.Outcome, error) { return w.assign("") }},
		{"1", "assigned again", kept, func(w *ward) { w.settled(w.assign("")) }, func(w *ward) (v1.Outcome, error) { return w.assign("a1") }},
		{"2", "home moves to another group", kept, nil, func(w *ward) (v1.Outcome, error) {
			var l v1.LogicalEnclosure
			return w.edit(&l, "l1", func() { l.Group = "g2" })
		}},
		{"2", "profile follows", kept, nil, func(w *ward) (v1.Outcome, error) { return w.save(func(p *v1.Profile) { p.Group = "g2" }) }},
		{"3", "unassigned, home deleted", gone, func(w *ward) { w.settled(w.assign("")) }, func(w *ward) (v1.Outcome, error) {
			return w.DeleteResource(w.t.Context(), v1.LogicalCollection, "l1", v1.Change{})
		}},
		{"3a", "assigned, home deleted", refused409, nil, func(w *ward) (v1.Outcome, error) {
			return w.DeleteResource(w.t.Context(), v1.LogicalCollection, "l1", v1.Change{})
		}},
		{"3a", "enclosure removed", refused409, nil, func(w *ward) (v1.Outcome, error) {
			var l v1.LogicalEnclosure
			return w.edit(&l, "l1", func() { l.Enclosures = []string{"e3"} })
		}},
		{"3a", "another enclosure removed", kept, nil, func(w *ward) (v1.Outcome, error) {
			var l v1.LogicalEnclosure
			return w.edit(&l, "l1", func() { l.Enclosures = []string{"e1"} })
		}},
		{"3a", "deployment switched off", refused409, nil, func(w *ward) (v1.Outcome, error) {
			var g v1.EnclosureGroup
			return w.edit(&g, "g1", func() { g.NoDeployment = true })
		}},
		{"3a", "type deleted", refused409, nil, func(w *ward) (v1.Outcome, error) {
			return w.DeleteResource(w.t.Context(), v1.TypeCollection, "t1", v1.Change{})
		}},
		{"4", "assigned abroad", anew, nil, func(w *ward) (v1.Outcome, error) { return w.assign("b1") }},
		{"4", "assigned abroad in two steps", anew, func(w *ward) { w.settled(w.assign("")) }, func(w *ward) (v1.Outcome, error) { return w.assign("b1") }},
		{"5", "type changed, with a server of it", anew, nil, func(w *ward) (v1.Outcome, error) {
			return w.save(func(p *v1.Profile) { p.Type, p.Hardware = "t2", "a3" })
		}},
		{"5", "type changed, without a server", gone, func(w *ward) { w.settled(w.assign("")) }, func(w *ward) (v1.Outcome, error) {
			return w.save(func(p *v1.Profile) { p.Type = "t2" })
		}},
		{"5a", "server of another type", refused400, nil, func(w *ward) (v1.Outcome, error) { return w.assign("a3") }},
		{"6", "another server of the home", kept, nil, func(w *ward) (v1.Outcome, error) { return w.assign("a2") }},
		{"6", "server replaced", kept, nil, func(w *ward) (v1.Outcome, error) {
			var h v1.Hardware
			return w.edit(&h, "a1", func() { h.UUID = "4c4c4544-0000" })
		}},
		{"6", "server removed", kept, nil, func(w *ward) (v1.Outcome, error) {
			return w.DeleteResource(w.t.Context(), v1.HardwareCollection, "a1", v1.Change{})
		}},
		{"8", "another plan", anew, nil, func(w *ward) (v1.Outcome, error) {
			return w.save(func(p *v1.Profile) { p.Deployment = &v1.ProfileDeployment{Plan: text("p2")} })
		}},
		{"9", "plan removed", gone, nil, func(w *ward) (v1.Outcome, error) {
			return w.save(func(p *v1.Profile) { p.Deployment = &v1.ProfileDeployment{Plan: text("")} })
		}},
		{"9", "profile deleted", gone, nil, func(w *ward) (v1.Outcome, error) {
			return w.DeleteResource(w.t.Context(), v1.ProfileCollection, "web", v1.Change{})
		}},
		{"10", "saved again", kept, nil, func(w *ward) (v1.Outcome, error) { return w.save(func(*v1.Profile) {}) }},
		{"10", "renamed, described, without settings", kept, nil, func(w *ward) (v1.Outcome, error) {
			return w.save(func(p *v1.Profile) { p.Description, p.Firmware, p.Deployment = "x", "SPP", nil })
		}},
		{"10", "with empty settings", kept, nil, func(w *ward) (v1.Outcome, error) {
			return w.save(func(p *v1.Profile) { p.Deployment = &v1.ProfileDeployment{} })
		}},
		{"11", "plan edited", kept, nil, func(w *ward) (v1.Outcome, error) {
			status, body := w.importPlans(w.t, "kind: DeploymentPlan\nname: p1\nimage: debian\nsize: 5MiB\n")
			require.Equal(w.t, 200, status, body)
			return w.save(func(*v1.Profile) {})
		}},
		{"11", "template edited", kept, func(w *ward) {
			_, err := w.CreateResource(w.t.Context(), &v1.Template{ResourceHead: v1.ResourceHead{Name: "tpl"}, Deployment: &v1.ProfileDeployment{Plan: text("p1")}}, v1.Change{})
			require.NoError(w.t, err)
			w.settled(w.save(func(p *v1.Profile) { p.Template = "tpl" }))
		}, func(w *ward) (v1.Outcome, error) {
			var tpl v1.Template
			_, err := w.edit(&tpl, "tpl", func() { tpl.Deployment.Plan = text("p2") })
			require.NoError(w.t, err)
			require.Len(w.t, w.profile().Differs, 1)
			return w.save(func(*v1.Profile) {})
		}},
		{"8", "complies with a template of another plan", anew, func(w *ward) {
			_, err := w.CreateResource(w.t.Context(), &v1.Template{ResourceHead: v1.ResourceHead{Name: "tpl"}, Deployment: &v1.ProfileDeployment{Plan: text("p2")}}, v1.Change{})
			require.NoError(w.t, err)
			w.settled(w.save(func(p *v1.Profile) { p.Template = "tpl" }))
		}, func(w *ward) (v1.Outcome, error) {
			return w.Comply(w.t.Context(), "web", new(v1.Profile), v1.Change{})
		}},
		{"12", "redeploy", anew, nil, func(w *ward) (v1.Outcome, error) {
			return w.Redeploy(w.t.Context(), "web", new(v1.Profile), v1.Change{})
		}},
	} {
		t.Run(row.row+" "+row.name, func(t *testing.T) {
			w := newWard(t)
			if row.before != nil {
				row.before(w)
			}
			volume, digest := w.scribble()
			before := w.profile()
			out, err := row.do(w)
			w.check(row.want, row.row, volume, digest, before, out, err)
			w.consistent()
		})
	}
}

func (w *ward) check(want, row, volume string, digest [32]byte, before *v1.Profile, out v1.Outcome, err error) {
	t := w.t
	switch want {
	case refused400:
		require.ErrorIs(t, err, blockstore.ErrInvalid)
	case refused409:
		require.ErrorIs(t, err, blockstore.ErrInUse)
		require.ErrorContains(t, err, "web", "the profile is named")
	default:
		w.settled(out, err)
	}
	if want == refused400 || want == refused409 {
		require.Equal(t, before, w.profile(), "nothing has changed")
		require.Equal(t, digest, w.digest(volume))
		return
	}
	if want == kept {
		require.Equal(t, volume, w.profile().Volume)
		require.Equal(t, digest, w.digest(volume))
		return
	}
	require.Len(t, out.Effects, 1)
	require.Contains(t, out.Effects[0].Rows, row)
	_, err = w.Volume(t.Context(), volume)
	require.ErrorIs(t, err, blockstore.ErrNotFound)
	if want == anew {
		p := w.profile()
		require.NotEqual(t, volume, p.Volume)
		require.Equal(t, "Normal", p.State)
		require.Empty(t, p.Owed)
		w.requireFresh(p.Volume)
	}
	// Deleted is retired: it comes back as it was.
	info, err := w.RestoreVolume(t.Context(), volume, v1.RestoreRequest{As: "old"})
	require.NoError(t, err)
	require.Equal(t, digest, w.digest(info.Name))
	require.NoError(t, w.DeleteVolume(t.Context(), info.Name))
}

// requireFresh has a volume read as the golden image, and zero behind it.
func (w *ward) requireFresh(volume string) {
	d, err := w.d.store.OpenVolume(w.t.Context(), volume)
	require.NoError(w.t, err)
	p := make([]byte, d.Size())
	require.NoError(w.t, d.ReadAt(w.t.Context(), p, 0))
	require.NoError(w.t, d.Close())
	require.True(w.t, bytes.Equal(w.golden, p[:len(w.golden)]))
	require.Empty(w.t, strings.Trim(string(p[len(w.golden):]), "\x00"))
}
