package daemon

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/task"
)

// Histories of events, through the API and on real volumes. After each event the
// volume is what a plain reading of the rules says, written here once more and not
// with package rules; and what went can be restored as it was.

var (
	historySeeds = flag.Int("history.seeds", 4, "how many random histories")
	historySeed  = flag.Uint64("history.seed", 0, "the one history to go through")
	historyPairs = flag.Bool("history.pairs", false, "each ordered pair of events, and not a sample")
)

const historyLength = 12

// site is the state that the model goes by. A profile is unassigned at "".
type site struct {
	server, kind, plan string
	homes              map[string]string // logical enclosure of each server
	gone               map[string]bool   // logical enclosures
	group              map[string]string // of logical enclosures

	volume bool
	home   string // of the volume
}

func newSite() *site {
	return &site{
		server: "a1", kind: "t1", plan: "p1", volume: true, home: "l1",
		homes: map[string]string{"a1": "l1", "a2": "l1", "a3": "l1", "b1": "l2", "b2": "l2"},
		gone:  map[string]bool{}, group: map[string]string{"l1": "g1", "l2": "g1"},
	}
}

var historyTypes = map[string]string{"a1": "t1", "a2": "t1", "b1": "t1", "a3": "t2", "b2": "t2"}

// event is something that is done, and what the model says becomes of the volume:
// kept, anew, gone, made, none, or a refusal. A refusal leaves the model as it was.
type event struct {
	name string
	do   func(w *ward) (v1.Outcome, error)
	want func(s *site) string
}

const (
	made = "made"
	none = "none"
)

// settle is what becomes of the volume when the profile is as s says now.
func (s *site) settle(forced bool) string {
	assigned := s.server != ""
	switch {
	case assigned && historyTypes[s.server] != s.kind, assigned && s.plan != "" && s.gone[s.homes[s.server]]:
		return refused400
	case s.volume && s.plan == "":
		s.volume = false
		return gone
	case s.volume && !assigned && forced:
		s.volume = false
		return gone
	case s.volume && (forced || assigned && s.homes[s.server] != s.home):
		s.home = s.homes[s.server]
		return anew
	case s.volume:
		return kept
	case assigned && s.plan != "":
		s.volume, s.home = true, s.homes[s.server]
		return made
	}
	return none
}

func historyEvents() []event {
	var list []event
	for _, to := range []string{"", "a1", "a2", "a3", "b1"} {
		list = append(list, event{"assign " + to, func(w *ward) (v1.Outcome, error) { return w.assign(to) }, func(s *site) string {
			s.server = to
			return s.settle(false)
		}})
	}
	for _, to := range [][2]string{{"t1", ""}, {"t2", ""}, {"t2", "a3"}, {"t2", "b2"}, {"t1", "b1"}} {
		list = append(list, event{"type " + to[0] + " on " + to[1], func(w *ward) (v1.Outcome, error) {
			return w.save(func(p *v1.Profile) { p.Type, p.Hardware = to[0], to[1] })
		}, func(s *site) string {
			changed := s.kind != to[0]
			s.kind, s.server = to[0], to[1]
			return s.settle(changed)
		}})
	}
	for _, plan := range []string{"p1", "p2", ""} {
		list = append(list, event{"plan " + plan, func(w *ward) (v1.Outcome, error) {
			return w.save(func(p *v1.Profile) { p.Deployment = &v1.ProfileDeployment{Plan: &plan} })
		}, func(s *site) string {
			changed := s.plan != plan
			s.plan = plan
			return s.settle(changed && plan != "")
		}})
	}
	list = append(list, event{"save", func(w *ward) (v1.Outcome, error) {
		return w.save(func(p *v1.Profile) { p.Description += "x" })
	}, func(s *site) string { return s.settle(false) }},
		event{"redeploy", func(w *ward) (v1.Outcome, error) {
			return w.Redeploy(w.t.Context(), "web", new(v1.Profile), v1.Change{})
		}, func(s *site) string {
			if s.plan == "" {
				return refused400
			}
			return s.settle(true)
		}})
	for _, le := range []string{"l1", "l2"} {
		list = append(list, event{"delete " + le, func(w *ward) (v1.Outcome, error) {
			return w.DeleteResource(w.t.Context(), v1.LogicalCollection, le, v1.Change{})
		}, func(s *site) string { return s.deleteEnclosure(le) }})
		list = append(list, event{"move " + le, func(w *ward) (v1.Outcome, error) {
			var l v1.LogicalEnclosure
			return w.tryEdit(&l, le, func() { l.Group = map[string]string{"g1": "g2", "g2": "g1"}[l.Group] })
		}, func(s *site) string {
			if s.gone[le] {
				return notThere
			}
			s.group[le] = map[string]string{"g1": "g2", "g2": "g1"}[s.group[le]]
			return s.same()
		}})
	}
	return list
}

const notThere = "not there"

func (s *site) same() string {
	if s.volume {
		return kept
	}
	return none
}

func (s *site) deleteEnclosure(le string) string {
	switch {
	case s.gone[le]:
		return notThere
	case s.server != "" && s.homes[s.server] == le:
		return refused409
	}
	s.gone[le] = true
	if s.volume && s.home == le && s.server == "" {
		s.volume = false
		return gone
	}
	return s.same()
}

// tryEdit is edit of what may not be there.
func (w *ward) tryEdit(r v1.Resource, name string, change func()) (v1.Outcome, error) {
	if err := w.Resource(w.t.Context(), name, r); err != nil {
		return v1.Outcome{}, err
	}
	change()
	return w.ReplaceResource(w.t.Context(), name, r, v1.Change{})
}

// step does an event and compares what became of the volume with the model.
func (w *ward) step(s *site, e event) {
	w.t.Helper()
	before := w.profile()
	var digest [32]byte
	if before.Volume != "" {
		_, digest = w.scribble()
	}
	next := s.clone()
	want := e.want(next)
	out, err := e.do(w)
	var failed *v1.Error
	switch want {
	case refused400, refused409, notThere:
		require.Error(w.t, err, want)
		require.ErrorAs(w.t, err, &failed)
		require.Equal(w.t, map[string]v1.Code{refused400: v1.CodeInvalid, refused409: v1.CodeInUse, notThere: v1.CodeNotFound}[want], failed.Code, failed.Message)
		require.Equal(w.t, before, w.profile(), "a refusal changes nothing")
		w.requireDigest(before.Volume, digest)
		return
	}
	require.NoError(w.t, err, want)
	if out.Task != nil {
		require.Equal(w.t, task.Completed, w.ended(w.t, *out.Task).State)
	}
	*s = *next
	now := w.profile()
	require.Equal(w.t, s.volume, now.Volume != "", "%s: %+v", want, out.Effects)
	switch want {
	case kept:
		require.Equal(w.t, before.Volume, now.Volume, "%+v", out.Effects)
		w.requireDigest(now.Volume, digest)
	case none:
		require.Empty(w.t, before.Volume)
	case made, anew:
		require.NotEqual(w.t, before.Volume, now.Volume)
		w.requireFresh(now.Volume)
	}
	if want == anew || want == gone {
		w.requireRetired(before.Volume, digest)
		require.NotEmpty(w.t, out.Effects, "a volume went without a rule that says so")
	}
	require.Equal(w.t, s.volume && s.server == "", now.Volume != "" && now.ExportClosed, "a volume is open to a server, and to nobody without one")
	w.consistent()
}

func (w *ward) requireDigest(volume string, digest [32]byte) {
	w.t.Helper()
	if volume != "" {
		require.Equal(w.t, digest, w.digest(volume))
	}
}

// requireRetired has a volume that went come back as it was, and go for good.
func (w *ward) requireRetired(volume string, digest [32]byte) {
	w.t.Helper()
	_, err := w.Volume(w.t.Context(), volume)
	require.ErrorIs(w.t, err, blockstore.ErrNotFound)
	info, err := w.RestoreVolume(w.t.Context(), volume, v1.RestoreRequest{As: "old"})
	require.NoError(w.t, err)
	require.Equal(w.t, digest, w.digest(info.Name))
	require.NoError(w.t, w.DeleteVolume(w.t.Context(), info.Name))
}

func (s *site) clone() *site {
	c := *s
	for _, m := range []*map[string]string{&c.homes, &c.group} {
		copied := map[string]string{}
		for k, v := range *m {
			copied[k] = v
		}
		*m = copied
	}
	copied := map[string]bool{}
	for k, v := range c.gone {
		copied[k] = v
	}
	c.gone = copied
	return &c
}

// through goes through a history.
func through(t *testing.T, events []event) {
	w, s := newWard(t), newSite()
	var names []string
	defer func() {
		if t.Failed() {
			t.Logf("the history: %s", strings.Join(names, "; "))
		}
	}()
	for _, e := range events {
		names = append(names, e.name)
		w.step(s, e)
	}
}

// TestHistories goes through random ones.
func TestHistories(t *testing.T) {
	seeds := []uint64{*historySeed}
	if *historySeed == 0 {
		seeds = nil
		for range *historySeeds {
			seeds = append(seeds, rand.Uint64())
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("-history.seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			all := historyEvents()
			var events []event
			for range historyLength {
				events = append(events, all[r.IntN(len(all))])
			}
			through(t, events)
		})
	}
}

// TestPairs goes through ordered pairs of events: those that a sequence can get wrong,
// or all.
func TestPairs(t *testing.T) {
	all := historyEvents()
	named := func(name string) event {
		i := slices.IndexFunc(all, func(e event) bool { return e.name == name })
		require.GreaterOrEqual(t, i, 0, name)
		return all[i]
	}
	histories := [][]string{
		{"delete l1", "assign ", "delete l1"},                     // refused while assigned, then row 3
		{"assign ", "move l1", "assign a2"},                       // a home is one by identity
		{"assign ", "type t2 on ", "type t1 on ", "assign a1"},    // changed and back: the old one stays deleted
		{"assign ", "delete l1", "assign b1"},                     // row 7, not 4
		{"assign ", "assign b1", "delete l1", "assign "},          // a split move is as one
		{"assign b1", "delete l1", "redeploy", "redeploy"},        // the home that it left
		{"plan ", "plan p1", "plan p2", "save"},                   // a plan that comes and goes
		{"assign ", "redeploy", "assign b1", "type t2 on b2"},     // redeployed without a server
		{"type t2 on b2", "assign a1", "type t1 on b1", "save"},   // refused in between
		{"assign ", "plan ", "delete l1", "plan p1", "assign b1"}, // nothing to delete
	}
	for _, h := range histories {
		var events []event
		for _, name := range h {
			events = append(events, named(name))
		}
		t.Run(strings.Join(h, "; "), func(t *testing.T) { through(t, events) })
	}
	if !*historyPairs {
		return
	}
	for _, a := range all {
		for _, b := range all {
			t.Run(a.name+"; "+b.name, func(t *testing.T) { through(t, []event{a, b}) })
		}
	}
}
