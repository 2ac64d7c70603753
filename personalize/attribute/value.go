package attribute

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
)

// Mask stands for a password in everything that is shown.
const Mask = "********"

// Limits on what clients send.
const (
	MaxName              = 128 // bytes, as the next
	MaxValue             = 64 << 10
	MaxValues            = 1024 // of one profile or plan
	maxSecretPlaceholder = 64
)

// Value is the value of a custom attribute. It is a secret if Type is Password.
type Value struct {
	Name string
	Type Type // "" where a client did not say
	// text stands behind a pointer for those who print a structure that has a
	// Value in a private field: fmt cannot call Format there.
	text *string
}

// NewValue returns a value.
func NewValue(name string, kind Type, text string) Value {
	return Value{Name: name, Type: kind, text: &text}
}

// Reveal returns the value in clear text.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// Place returns where the clear text is, for a store that keeps it apart.
func (v *Value) Place() *string {
	if v.text == nil {
		v.text = new(string)
	}
	return v.text
}

// Secret tells whether the value must not be shown.
func (v Value) Secret() bool { return v.Type == Password }

// Shown is the value for people and logs.
func (v Value) Shown() string {
	if v.Secret() && v.Reveal() != "" {
		return Mask
	}
	return v.Reveal()
}

// Withheld tells that a client sent no password but what it was shown of one.
func (v Value) Withheld() bool {
	text := v.Reveal()
	return text == "" || len(text) <= maxSecretPlaceholder && strings.Trim(text, "*•") == ""
}

// String masks secrets.
func (v Value) String() string { return v.Name + "=" + v.Shown() }

// Format masks secrets whatever the verb.
func (v Value) Format(f fmt.State, verb rune) { fmt.Fprint(f, v.String()) }

// LogValue masks secrets.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }

type wireValue struct {
	Name  string          `json:"name"`
	Type  Type            `json:"type,omitempty"`
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
	text, err := scalar(w.Name, w.Value)
	*v = NewValue(w.Name, w.Type, text)
	return err
}

// scalar reads a JSON value that stands for text.
func scalar(name string, raw json.RawMessage) (text string, err error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", nil
	case raw[0] == '"':
		return text, json.Unmarshal(raw, &text)
	case raw[0] == '{' || raw[0] == '[':
		return "", invalidf("the value of attribute %q is no text, number or truth value", name)
	}
	return string(raw), nil
}

// CheckValues checks the values of one profile or plan by themselves.
func CheckValues(of string, values []Value) error {
	if len(values) > MaxValues {
		return invalidf("%q has %d attribute values: use at most %d", of, len(values), MaxValues)
	}
	seen := map[string]bool{}
	for _, v := range values {
		switch {
		case v.Name == "":
			return invalidf("%q has an attribute value without a name", of)
		case seen[v.Name]:
			return invalidf("%q has two values for attribute %q", of, v.Name)
		case len(v.Reveal()) > MaxValue || len(v.Name) > MaxName:
			return invalidf("attribute %.128q of %q is too long: use at most %d bytes", v.Name, of, MaxValue)
		}
		seen[v.Name] = true
	}
	return nil
}

// Secrets maps a stable name to where the clear text of each secret is.
func Secrets(values []Value) map[string]*string {
	m := map[string]*string{}
	for i := range values {
		if values[i].Secret() {
			m["value:"+values[i].Name] = values[i].Place()
		}
	}
	return m
}
