package rules

import (
	"slices"
	"strings"
	"time"

	"goldstream/lifecycle/model"
)

// Quiet is how long an export must have seen no request for its server to count
// as off.
const Quiet = 30 * time.Second

// PoweredOn is the text by which clients of the old system know that they have
// to power the server off and ask again. It must not change.
const PoweredOn = "Some server profile attributes cannot be changed while the server hardware is powered on"

// Use is what is known of a server that has a volume.
type Use struct {
	Power model.PowerState
	// Idle is the time since the last request on the volume's export, or
	// negative if there was none since the daemon started.
	Idle time.Duration
}

// busy tells whether the server may be running from its volume. Requests on the
// export are the truth, whatever was said about power.
func (u Use) busy() bool {
	return u.Power == model.PowerOn || u.Idle >= 0 && u.Idle < Quiet
}

// Ask returns a Refusal if the decision takes a volume from a server that may be
// running, and nobody has confirmed the loss.
func Ask(c Case, d Decision, u Use, confirmed bool) error {
	if !d.Destroys() || confirmed || !u.busy() {
		return nil
	}
	return &Refusal{
		Status: 409, Rows: d.Rows, Profiles: []model.URI{c.Before.URI},
		Reasons: []string{PoweredOn + ": the OS volume of profile " + c.Before.Name + " would be lost, because " +
			strings.Join(d.Reasons, " and ") + "; power the server off, or confirm with confirm=volume-loss"},
	}
}

// Preview is what a change would do, for people to look at before.
type Preview struct {
	Action   Action      `json:"action"`
	Rows     []Row       `json:"rows"`
	Reasons  []string    `json:"reasons"`
	Profiles []model.URI `json:"profiles"`
	Volumes  []model.URI `json:"volumes,omitempty"` // that would go
	Bytes    int64       `json:"bytes"`             // of those, as their servers see them
}

// Previews sums up decisions by what they do, most destructive first.
func Previews(cases []Case, decisions []Decision) []Preview {
	var list []Preview
	for i, d := range decisions {
		at := slices.IndexFunc(list, func(p Preview) bool { return p.Action == d.Action && slices.Equal(p.Rows, d.Rows) })
		if at < 0 {
			at = len(list)
			list = append(list, Preview{Action: d.Action, Rows: d.Rows, Reasons: d.Reasons})
		}
		p := &list[at]
		p.Profiles = append(p.Profiles, cases[i].profile())
		if v := cases[i].Volume; d.Destroys() && v != nil {
			p.Volumes = append(p.Volumes, v.URI)
			p.Bytes += v.Size
		}
	}
	rank := []Action{Delete, DeleteThenPending, Regenerate, Create, Retain, Refuse}
	slices.SortStableFunc(list, func(a, b Preview) int { return slices.Index(rank, a.Action) - slices.Index(rank, b.Action) })
	return list
}

func (c Case) profile() model.URI {
	if c.Before.URI != "" {
		return c.Before.URI
	}
	return c.After.URI
}
