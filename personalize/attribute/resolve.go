package attribute

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// ProfileToken in a value of type hostname or fqdn stands for the name of the
// server profile.
const ProfileToken = "{profile}"

// VolumeSize is the system attribute with the size of an empty OS volume, in
// MiB. Scripts write it in any case.
const VolumeSize = "VolumeSize"

// Inputs are what values are taken from.
type Inputs struct {
	Definitions []Definition // of the build plan, with its defaults
	Plan        []Value      // of the deployment plan
	Fixed       []string     // names that a profile may not change
	Profile     []Value
	// System has what the server fills in: "_Initiator1.ip", "NIC1.mac",
	// "VolumeSize". It goes before all else.
	System      map[string]string
	ProfileName string // for ProfileToken; "" leaves it
}

// Values are the values of one deployment: checked, in their normal form.
type Values struct {
	known  map[string]Definition
	values map[string]Value // by name, those of NICs with the member
	system map[string]string
	// defaults are the secrets that scripts had themselves.
	defaults []Value
}

// Resolve checks what is supplied and chooses for each attribute. The error
// names everything that is wrong.
func Resolve(in Inputs) (*Values, error) {
	r := &Values{known: map[string]Definition{}, values: map[string]Value{}, system: in.System}
	errs := []error{
		CheckDefinitions("the build plan", in.Definitions),
		CheckValues("the deployment plan", in.Plan), CheckValues("the profile", in.Profile),
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, d := range in.Definitions {
		r.known[d.Name] = d
		if v := d.Default(); v.Reveal() != "" && d.Type != NIC {
			r.values[d.Name] = v
		}
	}
	errs = append(r.take("deployment plan", in.Plan, nil), r.take("profile", in.Profile, in.Fixed)...)
	for _, name := range slices.Sorted(maps.Keys(r.known)) {
		errs = append(errs, r.settle(r.known[name], in.ProfileName)...)
	}
	return r, errors.Join(errs...)
}

// take lets values go before those that are there.
func (r *Values) take(of string, values []Value, fixed []string) (errs []error) {
	for _, v := range values {
		name, member, _ := strings.Cut(v.Name, ".")
		d, ok := r.known[name]
		old := r.values[v.Name]
		switch {
		case strings.HasPrefix(v.Name, "_"), strings.EqualFold(v.Name, VolumeSize) && !ok:
			continue // the server's own; clients send back what they were shown
		case !ok:
			errs = append(errs, invalidf("the %s has a value for %q, which the build plan does not declare%s: leave it out, or declare it", of, v.Name, r.nearest(name)))
		case (d.Type == NIC) != (member != ""):
			errs = append(errs, invalidf("the %s has a value for %q, but %s has the type %s: %s", of, v.Name, d.Name, d.Type, memberAdvice(d)))
		case d.Type == Password && v.Withheld():
			continue
		case slices.Contains(fixed, name) && v.Reveal() != old.Reveal():
			errs = append(errs, invalidf("attribute %q cannot be changed in a %s: the deployment plan fixes it; leave it out", v.Name, of))
		default:
			r.values[v.Name] = NewValue(v.Name, d.Type, v.Reveal())
		}
	}
	return errs
}

func memberAdvice(d Definition) string {
	if d.Type == NIC {
		return "give its members, such as " + d.Name + ".ipaddress"
	}
	return "write " + d.Name + " alone"
}

// nearest names an attribute that differs in case only.
func (r *Values) nearest(name string) string {
	for known := range r.known {
		if strings.EqualFold(known, name) {
			return " (it declares " + known + ")"
		}
	}
	return ""
}

// settle brings the values of one attribute into their normal form.
func (r *Values) settle(d Definition, profile string) []error {
	if d.Type == NIC {
		return r.settleNIC(d)
	}
	v, ok := r.values[d.Name]
	if !ok || v.Reveal() == "" {
		delete(r.values, d.Name)
		return nil
	}
	text := v.Reveal()
	if profile != "" && (d.Type == Hostname || d.Type == FQDN) {
		text = strings.ReplaceAll(text, ProfileToken, profile)
	}
	text, err := d.Normal(text)
	if err != nil {
		return []error{err}
	}
	r.values[d.Name] = NewValue(d.Name, d.Type, text)
	return nil
}

// System tells of names that the server fills in, which no plan declares.
func System(name string) bool {
	return strings.HasPrefix(name, "_Initiator") || strings.EqualFold(name, VolumeSize)
}

// Lookup is the Lookup of these values.
func (r *Values) Lookup(name, member string) (v Value, supplied, known bool) {
	key := full(name, member)
	if text, ok := r.system[key]; ok {
		return NewValue(key, String, text), true, true
	}
	if member == "" && strings.EqualFold(name, VolumeSize) {
		if text, ok := r.system[VolumeSize]; ok {
			return NewValue(key, Number, text), true, true
		}
	}
	d, ok := r.known[name]
	if !ok {
		return v, false, System(name)
	}
	if (d.Type == NIC) != (member != "") || d.Type == NIC && !slices.Contains(members(), member) {
		return v, false, false
	}
	v, ok = r.values[key]
	if !ok {
		v = NewValue(key, d.Type, "")
	}
	return v, ok, true
}

// Expand is Expand with these values. It keeps in mind which secrets the script
// itself supplies, as defaults.
func (r *Values) Expand(script string) (Expansion, error) {
	e, err := Expand(script, r.Lookup)
	for _, m := range e.marks {
		if m.secret && err == nil {
			r.defaults = append(r.defaults, NewValue("", Password, e.Reveal()[m.start:m.end]))
		}
	}
	return e, err
}

// Secrets lists the clear text of all secrets, for a Masker: of the values, and
// of the scripts that were expanded.
func (r *Values) Secrets() []string {
	var list []string
	for _, v := range slices.AppendSeq(slices.Clone(r.defaults), maps.Values(r.values)) {
		if v.Secret() && v.Reveal() != "" {
			list = append(list, v.Reveal())
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// All lists the values that there are, ordered by name.
func (r *Values) All() []Value {
	var list []Value
	for _, name := range slices.Sorted(maps.Keys(r.values)) {
		list = append(list, r.values[name])
	}
	return list
}

// CheckSome checks values that others will complete: each by itself.
func CheckSome(defs []Definition, values []Value) error {
	r := &Values{known: map[string]Definition{}, values: map[string]Value{}}
	for _, d := range defs {
		r.known[d.Name] = d
	}
	errs := append([]error{CheckValues("the plan", values)}, r.take("plan", values, nil)...)
	for name, v := range r.values {
		base, member, _ := strings.Cut(name, ".")
		d, text := r.known[base], v.Reveal()
		var err error
		switch {
		case text == "":
		case d.Type != NIC:
			_, err = d.Normal(text)
		default:
			if _, bad := nicMember(member, strings.TrimSpace(text)); bad != nil {
				err = invalidf("attribute %q cannot be %.200q: %v", name, text, bad)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
