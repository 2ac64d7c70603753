package attribute

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

// Type says which values an attribute takes.
type Type string

// The types.
const (
	String   Type = "string"
	Number   Type = "number"
	Password Type = "password"
	Option   Type = "option"
	FQDN     Type = "fqdn"
	Hostname Type = "hostname"
	IPv4     Type = "ipv4"
	NIC      Type = "nic"
)

// Types lists all types.
func Types() []Type {
	return []Type{String, Number, Password, Option, FQDN, Hostname, IPv4, NIC}
}

// Definition declares an attribute of a plan.
type Definition struct {
	Name        string
	Type        Type
	Description string
	Constraints Constraints
	value       Value // the default
}

// NewDefinition returns a definition with a default, which may be "".
func NewDefinition(name string, kind Type, text string) Definition {
	return Definition{Name: name, Type: kind, value: NewValue(name, kind, text)}
}

// Default is the value that the plan itself supplies.
func (d Definition) Default() Value {
	v := d.value
	v.Name, v.Type = d.Name, d.Type
	return v
}

// Place returns where the default stands in clear text, for a store.
func (d *Definition) Place() *string { return d.value.Place() }

// String masks a default that is secret.
func (d Definition) String() string {
	return fmt.Sprintf("%s (%s, default %q)", d.Name, d.Type, d.Default().Shown())
}

// Format masks secrets whatever the verb.
func (d Definition) Format(f fmt.State, verb rune) { fmt.Fprint(f, d.String()) }

// LogValue masks secrets.
func (d Definition) LogValue() slog.Value { return slog.StringValue(d.String()) }

type wireDefinition struct {
	Name        string          `json:"name"`
	Type        Type            `json:"type"`
	Value       json.RawMessage `json:"value"`
	Constraints Constraints     `json:"constraints"`
	Description string          `json:"description,omitempty"`
}

// MarshalJSON masks secrets.
func (d Definition) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(d.Default().Shown())
	if err != nil {
		return nil, err
	}
	return json.Marshal(wireDefinition{d.Name, d.Type, text, d.Constraints, d.Description})
}

// UnmarshalJSON reads what MarshalJSON writes, and constraints as an object.
func (d *Definition) UnmarshalJSON(b []byte) error {
	var w wireDefinition
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	text, err := scalar(w.Name, w.Value)
	*d = NewDefinition(w.Name, w.Type, text)
	d.Constraints, d.Description = w.Constraints, w.Description
	return err
}

var nameForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// Check checks the definition, and its default if there is one.
func (d Definition) Check() error {
	switch {
	case strings.HasPrefix(d.Name, "_"):
		return invalidf("attribute %.128q: names that begin with _ belong to the system; use another", d.Name)
	case len(d.Name) > MaxName || !nameForm.MatchString(d.Name):
		return invalidf("%.128q is no name of an attribute: use letters, digits and _, a letter first, at most %d", d.Name, MaxName)
	case !slices.Contains(Types(), d.Type):
		return invalidf("attribute %q has the unknown type %.64q: use one of %s", d.Name, string(d.Type), list(Types()))
	}
	rules, err := d.Constraints.read()
	if err != nil {
		return invalidf("constraints of attribute %q: %v", d.Name, err)
	}
	if err := rules.check(d.Type); err != nil {
		return invalidf("constraints of attribute %q: %v", d.Name, err)
	}
	if text := d.value.Reveal(); text != "" && d.Type != NIC {
		if _, err := d.Normal(text); err != nil {
			return fmt.Errorf("default: %w", err)
		}
	}
	return nil
}

// CheckDefinitions checks all definitions of one plan.
func CheckDefinitions(of string, defs []Definition) error {
	if len(defs) > MaxValues {
		return invalidf("%q has %d attributes: use at most %d", of, len(defs), MaxValues)
	}
	seen := map[string]bool{}
	for _, d := range defs {
		if seen[d.Name] {
			return invalidf("%q declares attribute %q twice", of, d.Name)
		}
		seen[d.Name] = true
		if err := d.Check(); err != nil {
			return fmt.Errorf("%q: %w", of, err)
		}
	}
	return nil
}

func list[T ~string](words []T) string {
	text := make([]string, len(words))
	for i, w := range words {
		text[i] = string(w)
	}
	return strings.Join(text, ", ")
}
