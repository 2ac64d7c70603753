package rules

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var (
	rewrite = flag.Bool("rewrite", false, "write testdata/pairs.txt anew")
	seed    = flag.Uint64("rules.seed", 0, "run the histories of this seed only")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPairs compares what every ordered pair of events comes to with the
// committed table, which people have read.
func TestPairs(t *testing.T) {
	var b strings.Builder
	fmt.Fprintln(&b, "# A profile on a1 has volume v1. First event / second event: volume after each, rows of each.")
	for _, first := range steps {
		fmt.Fprintf(&b, "\n%s\n", first.name)
		for _, second := range steps {
			w := newWorld()
			one := first.do(w)
			after := w.state()
			two := second.do(w)
			fmt.Fprintf(&b, "    %-22s %s %-3s %-8s %s\n", second.name, after, w.state(), rowsOf(one), outcome(two))
		}
	}
	if *rewrite {
		require.NoError(t, os.WriteFile("testdata/pairs.txt", []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile("testdata/pairs.txt")
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}

func rowsOf(d Decision) string {
	var s []string
	for _, r := range d.Rows {
		s = append(s, string(r))
	}
	return strings.Join(s, ",")
}

func outcome(d Decision) string { return string(d.Action) + " " + rowsOf(d) }

// mayDestroy are the rows by which a volume may go.
var mayDestroy = []Row{"3", "4", "5", "8", "9", "12"}

// TestHistories runs random histories and holds each step to what is promised
// whatever happens.
func TestHistories(t *testing.T) {
	n, base := 1500, uint64(time.Now().UnixNano())
	if *seed != 0 {
		n, base = 1, *seed
	}
	for s := base; s < base+uint64(n); s++ {
		if err := history(s); err != nil {
			t.Fatalf("%v\nrun again with -run TestHistories -rules.seed=%d", err, s)
		}
	}
}

func history(seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWorld()
	w.site.NodeAccess = rng.IntN(8) == 0
	var log []string
	for range 12 {
		s := steps[rng.IntN(len(steps))]
		before := *w
		profile := *w.profile
		d := s.do(w)
		log = append(log, fmt.Sprintf("%s: %s -> %s", s.name, outcome(d), w.state()))
		if err := promises(&before, w, d); err != nil {
			return fmt.Errorf("%w after %s", err, strings.Join(log, "; "))
		}
		if d.Action == Refuse {
			if w.profile.Hardware != profile.Hardware || w.profile.Type != profile.Type || w.profile.Plan() != profile.Plan() {
				return fmt.Errorf("a refusal changed the profile after %s", strings.Join(log, "; "))
			}
			continue
		}
		if s.name == "redeploy" || s.name == "edit plan" {
			continue // which are new each time
		}
		kept := w.state()
		if again := s.do(w); again.Destroys() || w.state() != kept {
			return fmt.Errorf("the same request twice: %s after %s", outcome(again), strings.Join(log, "; "))
		}
	}
	return nil
}

func promises(before, after *world, d Decision) error {
	gone := before.volume != nil && after.state() != before.state()
	switch {
	case gone != (before.volume != nil && d.Destroys()):
		return fmt.Errorf("%s, but volume %s became %s", outcome(d), before.state(), after.state())
	case gone && !slices.ContainsFunc(d.Rows, func(r Row) bool { return slices.Contains(mayDestroy, r) }):
		return fmt.Errorf("no rule lets a volume go: %s", outcome(d))
	case len(d.Rows) == 0 || len(d.Rows) != len(d.Reasons):
		return fmt.Errorf("%s is not explained", outcome(d))
	case (d.Action == Refuse) != (d.Status >= 400):
		return fmt.Errorf("%s has status %d", outcome(d), d.Status)
	}
	p := after.view(after.profile)
	switch {
	case p.Plan != "" && p.assigned() && after.volume == nil:
		return fmt.Errorf("a server with a plan has no volume")
	case after.volume != nil && p.assigned() && p.Home != after.volume.Home && !after.site.NodeAccess:
		return fmt.Errorf("a server cannot access its volume")
	case after.volume != nil && p.Plan == "":
		return fmt.Errorf("a profile without a plan has a volume")
	}
	return nil
}

// TestSplitMove: unassign, then assign gives what one request gives.
func TestSplitMove(t *testing.T) {
	for server := range newWorld().hardware {
		for _, node := range []bool{false, true} {
			one, two := newWorld(), newWorld()
			one.site.NodeAccess, two.site.NodeAccess = node, node
			a := one.assign(server)
			two.assign("")
			b := two.assign(server)
			if server == "a1" {
				require.Equal(t, one.state(), two.state())
				continue
			}
			require.Equal(t, a.Action, b.Action, server)
			require.Equal(t, one.state(), two.state(), server)
		}
	}
}
