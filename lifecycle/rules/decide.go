package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"goldstream/lifecycle/model"
)

// Row is a row of the table.
type Row string

// Action is what happens to a volume.
type Action string

// Actions.
const (
	Retain            Action = "retain"
	Create            Action = "create"
	Regenerate        Action = "regenerate"
	Delete            Action = "delete"
	DeleteThenPending Action = "delete-then-pending" // made anew at the next assignment
	Refuse            Action = "refuse"
)

// Export is what happens to the export of a volume that is retained.
type Export string

// What happens to exports.
const (
	KeepExport  Export = ""
	CloseExport Export = "close" // the token is kept
	OpenExport  Export = "open"
	MoveExport  Export = "move" // fenced from the old server, opened to the new
)

// Decision is what a case comes to.
type Decision struct {
	Action  Action
	Export  Export // only with Retain
	Rows    []Row
	Reasons []string // one for each row
	Status  int      // of a refusal, as in HTTP: 400 or 409
}

// Destroys tells that a volume goes.
func (d Decision) Destroys() bool {
	return d.Action == Regenerate || d.Action == Delete || d.Action == DeleteThenPending
}

func (d *Decision) because(r Row, format string, args ...any) {
	d.Rows = append(d.Rows, r)
	d.Reasons = append(d.Reasons, fmt.Sprintf(format, args...))
}

func refuse(status int, r Row, format string, args ...any) Decision {
	d := Decision{Action: Refuse, Status: status}
	d.because(r, format, args...)
	return d
}

func retain(r Row, format string, args ...any) Decision {
	d := Decision{Action: Retain}
	d.because(r, format, args...)
	return d
}

// Decide says what happens to the volume of one profile.
func Decide(c Case) Decision {
	switch c.Event.Kind {
	case Save:
		return c.save()
	case DeleteProfile:
		return c.remove()
	case Redeploy:
		return c.redeploy()
	}
	return c.elsewhere()
}

func (c Case) remove() Decision {
	if c.Volume == nil {
		return retain("9", "the profile is deleted and has no volume")
	}
	d := Decision{Action: Delete}
	d.because("9", "the profile is deleted")
	return d
}

func (c Case) redeploy() Decision {
	if c.Before.Plan == "" {
		return refuse(400, "12", "profile %q names no deployment plan: there is nothing to redeploy", c.Before.Name)
	}
	c.Event.Kind, c.Event.Force, c.After = Save, true, c.Before
	return c.save()
}

func (c Case) save() Decision {
	b, a := c.Before, c.After
	if a.assigned() && a.HardwareType != a.Type {
		return refuse(400, "5a", "profile %q is for servers of type %s, but the server is of type %s: choose another server, or change the type of the profile", a.Name, a.Type, a.HardwareType)
	}
	if c.Volume != nil && a.Plan == "" && (b.Plan != "" || slices.Contains(c.Owed, "9")) {
		d := Decision{Action: Delete}
		d.because("9", "the deployment plan is removed from the profile")
		return d
	}
	if d := c.regenerate(); len(d.Rows) > 0 {
		return d
	}
	if c.Volume == nil && a.assigned() && a.Plan != "" {
		d := Decision{Action: Create}
		d.because("7", "the profile is on hardware, names a plan and has no volume yet")
		return d
	}
	return c.retain()
}

// regenerate collects all reasons for a new volume; no rows: none.
func (c Case) regenerate() (d Decision) {
	if c.Volume == nil {
		return d
	}
	b, a := c.Before, c.After
	d.Action = Regenerate
	if !a.assigned() {
		d.Action = DeleteThenPending
	}
	if c.Event.Force {
		d.because("12", "a redeploy is asked for")
	}
	// A row that is owed goes by what the volume was made for: after a failure Before
	// is a profile that never had this volume, and going back to the one that had is
	// no change to it.
	owed := slices.Clone(c.Owed)
	if slices.Contains(owed, "9") {
		owed = append(owed, "8") // a plan is named again
	}
	if was := cmp.Or(b.Type, c.Volume.Made.HardwareType); !slices.Contains(owed, "5") && was != "" && a.Type != was {
		d.because("5", "the hardware type of the profile changes from %s to %s", was, a.Type)
	}
	if a.Hardware != b.Hardware && c.abroad() {
		d.because("4", "the server is in %s and cannot access the volume, whose home is %s", a.Home, c.Volume.Home)
	}
	switch {
	case slices.Contains(owed, "8"):
	case a.Plan != b.Plan:
		d.because("8", "the deployment plan changes from %s to %s", b.Plan, a.Plan)
	case a.Digest != b.Digest:
		d.because("8", "the values of attributes change")
	}
	for _, r := range owed {
		if !slices.Contains(d.Rows, r) && c.stillOwed(r) {
			d.because(r, "the volume is not what the profile asks for: an earlier change of it failed")
		}
	}
	return d
}

// abroad tells that the hardware cannot access the volume.
func (c Case) abroad() bool {
	return c.After.assigned() && c.After.Home != c.Volume.Home && !c.Site.NodeAccess
}

func (c Case) stillOwed(r Row) bool {
	switch r {
	case "4":
		return c.abroad()
	case "5":
		return c.After.Type != c.Volume.Made.HardwareType
	case "3":
		return !c.After.assigned()
	case "8":
		return c.After.Plan != c.Volume.Made.Plan || c.After.Digest != c.Volume.Made.Digest
	}
	return false
}

func (c Case) retain() Decision {
	b, a := c.Before, c.After
	d := Decision{Action: Retain}
	switch {
	case b.Hardware == a.Hardware:
	case !a.assigned():
		d.Export = CloseExport
		d.because("1", "the profile is unassigned: its volume waits for the next server")
	case !b.assigned():
		d.Export = OpenExport
		d.because("1", "the profile is assigned to a server that can access its volume")
	default:
		d.Export = MoveExport
		d.because("6", "the other server is of the same type and can access the volume")
	}
	if a.Group != b.Group {
		d.because("2", "the profile follows to another enclosure group")
	}
	if len(d.Rows) == 0 {
		d.because("10", "nothing that the volume depends on changes")
	}
	return d
}

// elsewhere decides on events that are not of the profile itself.
func (c Case) elsewhere() Decision {
	e, b := c.Event, c.Before
	switch e.Kind {
	case MoveEnclosure:
		return retain("2", "the home of a volume stays what it is in another enclosure group")
	case EditArtifact:
		return retain("11", "volumes stay what they were made of: redeploy to use what was edited")
	case DeleteEnclosure:
		return c.deleteEnclosure()
	case RemoveEnclosure:
		if b.assigned() && b.Enclosure == e.Subject {
			return refuse(409, "3a", "profile %q is assigned to a server in %s: unassign it first", b.Name, e.Subject)
		}
	case DeploymentOff:
		if b.Plan != "" && (b.Group == e.Subject || b.HardwareGroup == e.Subject) {
			return refuse(409, "3a", "profile %q names a deployment plan: remove it from the profile first", b.Name)
		}
	case DeleteType:
		if b.Type == e.Subject {
			return refuse(409, "3a", "profile %q is for servers of type %s: change or delete it first", b.Name, e.Subject)
		}
	case RemoveHardware:
		if b.Hardware == e.Subject {
			d := retain("6", "the server goes, which unassigns the profile")
			d.Export = CloseExport
			return d
		}
	case ReplaceHardware:
		return c.replaceHardware()
	}
	return retain("10", "the profile is not concerned")
}

func (c Case) deleteEnclosure() Decision {
	b, le := c.Before, c.Event.Subject
	if b.assigned() && b.Home == le {
		return refuse(409, "3a", "profile %q is assigned to a server in %s: unassign it first", b.Name, le)
	}
	if c.Volume == nil || c.Volume.Home != le || b.assigned() {
		return retain("10", "the profile has no volume whose home is deleted, or is assigned elsewhere")
	}
	d := Decision{Action: DeleteThenPending}
	d.because("3", "the profile is unassigned and the home of its volume is deleted")
	return d
}

func (c Case) replaceHardware() Decision {
	e, b := c.Event, c.Before
	switch {
	case b.Hardware != e.Subject:
		return retain("10", "the profile is not concerned")
	case e.NewType != b.HardwareType:
		return refuse(409, "5a", "profile %q is on this server and is for type %s: unassign it first", b.Name, b.Type)
	case e.NewHome != b.Home:
		return refuse(409, "3a", "profile %q is on this server, which may not leave %s: unassign it first", b.Name, b.Home)
	}
	d := retain("6", "the server is replaced by one of the same type in the same place")
	d.Export = MoveExport
	return d
}

// DecideAll decides on an event for all profiles that may be concerned. If one
// is refused, all are, and the refusal names every profile that it is for.
func DecideAll(cases []Case) ([]Decision, error) {
	list := make([]Decision, len(cases))
	var no Refusal
	for i, c := range cases {
		list[i] = Decide(c)
		if list[i].Action != Refuse {
			continue
		}
		no.Status = max(no.Status, list[i].Status)
		no.Rows = append(no.Rows, list[i].Rows...)
		no.Reasons = append(no.Reasons, list[i].Reasons...)
		no.Profiles = append(no.Profiles, c.Before.URI)
	}
	if len(no.Profiles) > 0 {
		return nil, &no
	}
	return list, nil
}

// Refusal is the error of an event that is refused. Nothing has changed.
type Refusal struct {
	Status   int // as in HTTP
	Rows     []Row
	Reasons  []string
	Profiles []model.URI
}

func (r *Refusal) Error() string { return strings.Join(r.Reasons, "; ") }
