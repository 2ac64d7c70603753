package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
)

// Mask stands for a password in everything that is shown.
const Mask = "********"

// Password is the type of values that are secret.
const Password = "password"

// Value is the value of a custom attribute. It is a secret if Type is Password.
type Value struct {
	Name string
	Type string // as the plan has it: string, number, password …
	text string
}

// NewValue returns a value.
func NewValue(name, kind, text string) Value { return Value{Name: name, Type: kind, text: text} }

// Reveal returns the value in clear text.
func (v Value) Reveal() string { return v.text }

// Secret tells whether the value must not be shown.
func (v Value) Secret() bool { return v.Type == Password }

// Shown is the value for people and logs.
func (v Value) Shown() string {
	if v.Secret() && v.text != "" {
		return Mask
	}
	return v.text
}

// Withheld tells that a client sent no password but what it was shown of one.
func (v Value) Withheld() bool {
	return v.text == "" || len(v.text) <= maxSecretPlaceholder && strings.Trim(v.text, "*•") == ""
}

// String masks secrets.
func (v Value) String() string { return v.Name + "=" + v.Shown() }

// Format masks secrets whatever the verb.
func (v Value) Format(f fmt.State, verb rune) { fmt.Fprint(f, v.String()) }

// LogValue masks secrets.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }

type wireValue struct {
	Name  string          `json:"name"`
	Type  string          `json:"type,omitempty"`
	Value json.RawMessage `json:"value"`
}

// MarshalJSON masks secrets.
func (v Value) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(v.Shown())
	if err != nil {
		return nil, err
	}
	return json.Marshal(wireValue{Name: v.Name, Type: v.Type, Value: text})
}

// UnmarshalJSON takes text, true, false, numbers and null: clients that send a
// value back do not agree on its type.
func (v *Value) UnmarshalJSON(b []byte) error {
	var w wireValue
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*v = Value{Name: w.Name, Type: w.Type}
	raw := bytes.TrimSpace(w.Value)
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil
	case raw[0] == '"':
		return json.Unmarshal(raw, &v.text)
	case raw[0] == '{' || raw[0] == '[':
		return invalidf("the value of attribute %q is no text, number or truth value", w.Name)
	}
	v.text = string(raw)
	return nil
}

func validateValues(of string, values []Value) error {
	if len(values) > maxValues {
		return invalidf("%q has %d attribute values: use at most %d", of, len(values), maxValues)
	}
	seen := map[string]bool{}
	for _, v := range values {
		switch {
		case v.Name == "":
			return invalidf("%q has an attribute value without a name", of)
		case seen[v.Name]:
			return invalidf("%q has two values for attribute %q", of, v.Name)
		case len(v.text) > maxValue || len(v.Name) > maxName:
			return invalidf("attribute %.128q of %q is too long: use at most %d bytes", v.Name, of, maxValue)
		}
		seen[v.Name] = true
	}
	return nil
}

// secretsOf maps the names of passwords to where they are.
func secretsOf(values []Value) map[string]*string {
	m := map[string]*string{}
	for i := range values {
		if values[i].Secret() {
			m["value:"+values[i].Name] = &values[i].text
		}
	}
	return m
}
