package step

import (
	"reflect"
	"strings"

	"goldstream/personalize/attribute"
)

// Steps are looked through by their fields here, so that what is said of all of
// them holds for a new kind of step without another list.

// Kind is the name of the one field that is set, as in YAML. Error:
// attribute.ErrInvalid, unless it is exactly one.
func (s Step) Kind() (string, error) {
	var set, all []string
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		all = append(all, name)
		if !v.Field(i).IsZero() {
			set = append(set, name)
		}
	}
	if len(set) != 1 {
		return "", attribute.Invalid("a step needs exactly one of %s; this one has %d", strings.Join(all, ", "), len(set))
	}
	return set[0], nil
}

// Title names the step for people.
func (s Step) Title() string {
	kind, err := s.Kind()
	switch {
	case err != nil:
		return "step"
	case s.File != nil:
		return kind + " " + s.File.Path
	}
	return kind
}

// Check checks what can be known without a disk and without values: kinds are the
// attributes that the build plan declares. Error: attribute.ErrInvalid.
func (s Step) Check(kinds map[string]attribute.Type) error {
	if _, err := s.Kind(); err != nil {
		return err
	}
	_, err := s.mapped(func(text string) (string, error) { return text, checkNames(text, kinds) })
	if c, ok := s.planner().(checker); ok && err == nil {
		err = c.check()
	}
	if err != nil || s.Network == nil {
		return err
	}
	for _, name := range s.Network.NICs {
		if kinds[name] != attribute.NIC {
			return attribute.Invalid("the build plan declares no NIC %q", name)
		}
	}
	return nil
}

func checkNames(text string, kinds map[string]attribute.Type) error {
	for _, p := range attribute.Placeholders(text) {
		kind, known := kinds[p.Name]
		switch {
		case attribute.System(p.Name):
		case !known:
			return undeclared(p)
		case kind == attribute.NIC && p.Member == "":
			return attribute.Invalid("%q is a NIC: name its member, such as @%s.ipaddress@", p.Name, p.Name)
		case kind != attribute.NIC && p.Member != "":
			return attribute.Invalid("%q has the type %s and so no member %q", p.Name, kind, p.Member)
		}
	}
	return nil
}

// Uses lists the placeholders of the step, in order.
func (s Step) Uses() (names []string) {
	_, _ = s.mapped(func(text string) (string, error) {
		for _, p := range attribute.Placeholders(text) {
			names = append(names, p.Full())
		}
		return text, nil
	})
	if s.Network != nil {
		names = append(names, s.Network.NICs...)
	}
	return names
}

// Shown is the step with values in it, and a mask for each secret. expand is
// attribute.Expand with these values.
func (s Step) Shown(expand func(string) (attribute.Expansion, error)) (Step, error) {
	return s.mapped(func(text string) (string, error) {
		e, err := expand(text)
		if err != nil {
			return "", err
		}
		if unknown := e.Unknown(); len(unknown) > 0 {
			return "", undeclared(unknown[0])
		}
		return e.Shown(), nil
	})
}

// mapped is a copy with another text for each.
func (s Step) mapped(f func(string) (string, error)) (Step, error) {
	v, err := mapText(reflect.ValueOf(s), f)
	if err != nil {
		return s, err
	}
	return v.Interface().(Step), nil
}

func mapText(v reflect.Value, f func(string) (string, error)) (reflect.Value, error) {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	set := func(to, from reflect.Value) error {
		mapped, err := mapText(from, f)
		if err == nil {
			to.Set(mapped)
		}
		return err
	}
	switch v.Kind() {
	case reflect.String:
		text, err := f(v.String())
		out.SetString(text)
		return out, err
	case reflect.Pointer:
		if v.IsNil() {
			return out, nil
		}
		out.Set(reflect.New(v.Type().Elem()))
		return out, set(out.Elem(), v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if err := set(out.Field(i), v.Field(i)); err != nil {
				return out, err
			}
		}
	case reflect.Slice:
		if v.IsNil() {
			return out, nil
		}
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			if err := set(out.Index(i), v.Index(i)); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}
