package attribute

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

const maxConstraints = 64 << 10 // bytes

// Constraints are what a definition says of its values, as a JSON object. Keys
// that this package does not know stay in it.
type Constraints struct{ object json.RawMessage }

// ParseConstraints reads a JSON object; "" is none.
func ParseConstraints(text string) (c Constraints, err error) {
	if word := strings.TrimSpace(text); word == "" || word == "{}" {
		return c, nil
	}
	var object map[string]json.RawMessage
	if len(text) > maxConstraints {
		return c, invalidf("constraints of %d bytes: use at most %d", len(text), maxConstraints)
	}
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return c, invalidf("constraints are no JSON object: %v", err)
	}
	c.object = json.RawMessage(text)
	return c, nil
}

// String is the JSON object.
func (c Constraints) String() string {
	if len(c.object) == 0 {
		return "{}"
	}
	return string(c.object)
}

// MarshalJSON writes the object as text, which is how clients know it.
func (c Constraints) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// UnmarshalJSON takes text with an object in it, an object, and null.
func (c *Constraints) UnmarshalJSON(b []byte) (err error) {
	text := string(bytes.TrimSpace(b))
	switch {
	case text == "null":
		text = ""
	case strings.HasPrefix(text, `"`):
		err = json.Unmarshal(b, &text)
	}
	if err == nil {
		*c, err = ParseConstraints(text)
	}
	return err
}

// loose is text that may stand as a number or a truth value in JSON, too.
type loose string

func (l *loose) UnmarshalJSON(b []byte) error {
	text, err := scalar("constraint", b)
	*l = loose(text)
	return err
}

// limits are the constraints that are known.
type limits struct {
	Options      []loose  `json:"options"`
	Regex        loose    `json:"regex"`
	Help         loose    `json:"helpText"`
	Minimum      loose    `json:"minimum"`
	Maximum      loose    `json:"maximum"`
	Increment    loose    `json:"increment"`
	MinLen       loose    `json:"minlen"`
	MaxLen       loose    `json:"maxlen"`
	AllowedChars loose    `json:"allowedchars"`
	Multiline    loose    `json:"multiline"` // "true" allows line feeds in a string
	Static       *loose   `json:"ipv4static"`
	DHCP         *loose   `json:"ipv4dhcp"`
	Disable      *loose   `json:"ipv4disable"`
	Parameters   []string `json:"parameters"` // members that scripts use
}

func (c Constraints) read() (l limits, err error) {
	if len(c.object) == 0 {
		return l, nil
	}
	if err := json.Unmarshal(c.object, &l); err != nil {
		return l, fmt.Errorf("a known key has a value of the wrong kind: %v", err)
	}
	return l, nil
}

// check finds constraints that no value could be compared with.
func (l limits) check(kind Type) error {
	switch kind {
	case Option:
		if len(l.Options) == 0 {
			return fmt.Errorf(`an option needs "options": a list of at least one text`)
		}
	case Number:
		for key, text := range map[string]loose{"minimum": l.Minimum, "maximum": l.Maximum, "increment": l.Increment} {
			if _, err := number(string(text)); text != "" && err != nil {
				return fmt.Errorf("%q is %.64q: %v", key, string(text), err)
			}
		}
	case Password:
		for key, text := range map[string]loose{"minlen": l.MinLen, "maxlen": l.MaxLen} {
			if n, err := number(string(text)); text != "" && (err != nil || n.Sign() < 0 || !n.IsInt()) {
				return fmt.Errorf("%q is %.64q, which is no length", key, string(text))
			}
		}
		if _, err := l.characters(); err != nil {
			return err
		}
	}
	_, err := l.pattern()
	return err
}

// pattern is the expression that the whole value must match, or nil.
func (l limits) pattern() (*regexp.Regexp, error) {
	if l.Regex == "" {
		return nil, nil
	}
	re, err := regexp.Compile(`^(?:` + string(l.Regex) + `)$`)
	if err != nil {
		return nil, fmt.Errorf(`"regex" %.128q cannot be used (look-around and back references are not known): %v`, string(l.Regex), err)
	}
	return re, nil
}

// characters is the expression for the characters of a password, or nil. The
// constraint is a class in brackets, or a plain list of characters.
func (l limits) characters() (*regexp.Regexp, error) {
	text := string(l.AllowedChars)
	if text == "" {
		return nil, nil
	}
	if !strings.HasPrefix(text, "[") {
		text = "[" + regexp.QuoteMeta(text) + "]"
		text = strings.ReplaceAll(text, "-", `\-`)
	}
	if last := text[len(text)-1]; last != '*' && last != '+' {
		text += "*"
	}
	re, err := regexp.Compile(`^(?:` + text + `)$`)
	if err != nil {
		return nil, fmt.Errorf(`"allowedchars" %.128q is no class of characters: %v`, string(l.AllowedChars), err)
	}
	return re, nil
}

// off tells of a mode that is switched off; one that is not named is on.
func off(l *loose) bool { return l != nil && strings.EqualFold(string(*l), "false") }

var decimal = regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$`)

// number reads a decimal number, exactly.
func number(text string) (*big.Rat, error) {
	if len(text) > 64 || !decimal.MatchString(text) {
		return nil, fmt.Errorf("no decimal number")
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, fmt.Errorf("no decimal number")
	}
	return r, nil
}
