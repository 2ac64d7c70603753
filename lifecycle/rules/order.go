package rules

import (
	"cmp"
	"slices"
	"strings"

	"goldstream/lifecycle/model"
)

// Step is a step of carrying a decision out.
type Step string

// Steps. Each is durable before the next begins.
const (
	Intent     Step = "intent"      // names of what will be made are chosen and noted
	Build      Step = "build"       // the new volume, beside the old
	Fence      Step = "fence"       // the old export is closed, nobody writes to it any more
	Swap       Step = "swap"        // one commit: the profile names the new, the old is retired
	Retire     Step = "retire"      // the block store retires the old volume
	OpenToUser Step = "open-export" // of the new volume, with a new token
	CloseOld   Step = "close-export"
)

// Order lists the steps of a decision. Until Swap a failure leaves the old
// volume where it was; after it there is no way back but restore.
func Order(d Decision) []Step {
	switch d.Action {
	case Create:
		return []Step{Intent, Build, Swap, OpenToUser}
	case Regenerate:
		return []Step{Intent, Build, Fence, Swap, Retire, OpenToUser}
	case Delete, DeleteThenPending:
		return []Step{Intent, Fence, Swap, Retire}
	case Retain:
		switch d.Export {
		case CloseExport:
			return []Step{Fence, CloseOld, Swap}
		case OpenExport:
			return []Step{Swap, OpenToUser}
		case MoveExport:
			return []Step{Fence, Swap, OpenToUser}
		}
		return []Step{Swap}
	}
	return nil
}

// StaysClosed tells whether the old export remains closed when a change failed
// before the swap: the server that it was for is not the profile's any more.
func StaysClosed(d Decision) bool {
	return slices.Contains(d.Rows, "4") || slices.Contains(d.Rows, "5")
}

// Owes lists the rows that are owed if the decision is not carried out. A
// redeploy has to be asked for again.
func Owes(d Decision) []Row {
	if !d.Destroys() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(d.Rows), func(r Row) bool { return r == "12" })
}

// Lock is a resource that is locked while a change runs.
type Lock struct {
	URI       model.URI
	Exclusive bool
}

// Locks lists what cases lock, in the order in which they are taken: logical
// enclosures, enclosure groups, then profiles, each by URI.
func Locks(cases []Case) []Lock {
	shared, exclusive := map[model.URI]bool{}, map[model.URI]bool{}
	for _, c := range cases {
		for _, p := range []Profile{c.Before, c.After} {
			shared[p.Home], shared[p.Group], shared[p.HardwareGroup] = true, true, true
		}
		shared[c.home()], shared[c.Event.NewHome] = true, true
		exclusive[c.profile()] = true
		switch c.Event.Kind {
		case MoveEnclosure, DeleteEnclosure, DeploymentOff:
			exclusive[c.Event.Subject] = true
		case RemoveEnclosure:
			exclusive[c.Event.Home] = true
		}
	}
	delete(shared, "")
	delete(exclusive, "")
	var list []Lock
	for u := range exclusive {
		delete(shared, u)
		list = append(list, Lock{u, true})
	}
	for u := range shared {
		list = append(list, Lock{u, false})
	}
	slices.SortFunc(list, func(a, b Lock) int {
		return cmp.Or(cmp.Compare(lockRank(a.URI), lockRank(b.URI)), strings.Compare(string(a.URI), string(b.URI)))
	})
	return list
}

func lockRank(u model.URI) int {
	switch u.Kind() {
	case model.LogicalEnclosures:
		return 0
	case model.EnclosureGroups:
		return 1
	}
	return 2
}

func (c Case) home() model.URI {
	if c.Volume == nil {
		return ""
	}
	return c.Volume.Home
}
