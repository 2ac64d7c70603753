package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"

	"goldstream/lifecycle/model"
)

// Fields are the fields of a JSON object that a client sent. What has the wrong
// type is remembered, so that Take reads on and Err tells all of it.
type Fields struct {
	path string // for messages: "connections[2]."
	raw  map[string]json.RawMessage
	seen map[string]bool
	errs *[]error
}

// ParseFields reads a JSON object.
func ParseFields(b []byte) (*Fields, error) {
	f := &Fields{seen: map[string]bool{}, errs: new([]error)}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&f.raw); err != nil || f.raw == nil {
		return nil, Bad("the body is no JSON object: %v", orNothing(err))
	}
	if d.More() {
		return nil, Bad("the body holds more than one JSON document")
	}
	return f, nil
}

// again are the same fields, of which nothing was read yet.
func (f *Fields) again() *Fields {
	return &Fields{path: f.path, raw: f.raw, seen: map[string]bool{}, errs: new([]error)}
}

func orNothing(err error) string {
	if err == nil {
		return "it is null"
	}
	return err.Error()
}

// Has tells whether a field was sent and is not null.
func (f *Fields) Has(key string) bool {
	raw, ok := f.raw[key]
	f.seen[key] = true
	return ok && string(bytes.TrimSpace(raw)) != "null"
}

func (f *Fields) read(key string, to any, what string) bool {
	if !f.Has(key) {
		return false
	}
	if err := json.Unmarshal(f.raw[key], to); err != nil {
		*f.errs = append(*f.errs, Bad("%s%s must be %s, not %s", f.path, key, what, sort(f.raw[key])))
		return false
	}
	return true
}

// sort names what was sent instead. Messages are logged, and the value of any
// field may be a secret or hold one: it is not quoted.
func sort(raw json.RawMessage) string {
	switch bytes.TrimSpace(raw)[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case 't', 'f':
		return "true or false"
	}
	return "a number"
}

// Text is a text, "" where there is none.
func (f *Fields) Text(key string) (s string) {
	f.read(key, &s, "a text")
	return s
}

// TextOr is a text, or what it was where the client said nothing of it.
func (f *Fields) TextOr(key, old string) string {
	if _, sent := f.raw[key]; !sent {
		return old
	}
	return f.Text(key)
}

// IsNull tells that a field was sent, as null.
func (f *Fields) IsNull(key string) bool {
	_, sent := f.raw[key]
	return sent && !f.Has(key)
}

// Scalar is a text, a number or a truth value, as a text.
func (f *Fields) Scalar(key string) string {
	raw := bytes.TrimSpace(f.raw[key])
	if !f.Has(key) || raw[0] == '"' {
		return f.Text(key)
	}
	if raw[0] == '{' || raw[0] == '[' {
		*f.errs = append(*f.errs, Bad("%s%s must be a text, a number or a truth value", f.path, key))
	}
	return string(raw)
}

// Bool is true or false; clients also write them as texts.
func (f *Fields) Bool(key string) (b bool) {
	raw := string(f.raw[key])
	if strings.EqualFold(raw, `"true"`) || strings.EqualFold(raw, `"false"`) {
		f.seen[key] = true
		return strings.EqualFold(raw, `"true"`)
	}
	f.read(key, &b, "true or false")
	return b
}

// Int is a whole number, 0 where there is none; clients also write texts.
func (f *Fields) Int(key string) (n int64) {
	raw := strings.Trim(string(f.raw[key]), `"`)
	if f.Has(key) && raw != "" && json.Unmarshal([]byte(raw), &n) != nil {
		*f.errs = append(*f.errs, Bad("%s%s must be a whole number", f.path, key))
	}
	return n
}

// URI is that of a resource of a kind.
func (f *Fields) URI(key string, kind model.Kind) model.URI {
	u := model.URI(f.Text(key))
	if u != "" && u.Kind() != kind {
		*f.errs = append(*f.errs, Bad("%s%s is %.128q: it must be the URI of one of the %s, such as /rest/%s/ID", f.path, key, string(u), kind, kind))
		return ""
	}
	return u
}

// Texts is a list of texts.
func (f *Fields) Texts(key string) (list []string) {
	f.read(key, &list, "a list of texts")
	return list
}

// Object is a field that is an object; an empty one where there is none.
func (f *Fields) Object(key string) *Fields {
	in := &Fields{path: f.path + key + ".", seen: map[string]bool{}, errs: f.errs}
	f.read(key, &in.raw, "an object")
	return in
}

// Objects is a list of objects.
func (f *Fields) Objects(key string) (list []*Fields) {
	var raw []map[string]json.RawMessage
	f.read(key, &raw, "a list of objects")
	for _, r := range raw {
		list = append(list, &Fields{path: f.path + key + ".", raw: r, seen: map[string]bool{}, errs: f.errs})
	}
	return list
}

// Raw is a field as it was sent.
func (f *Fields) Raw(key string) json.RawMessage {
	f.seen[key] = true
	return f.raw[key]
}

// Peek is a field as it was sent, without its being asked for: it is kept.
func (f *Fields) Peek(key string) json.RawMessage { return f.raw[key] }

// PeekInt is a whole number in the same way, 0 for anything else.
func (f *Fields) PeekInt(key string) (n int64) {
	_ = json.Unmarshal(f.raw[key], &n)
	return n
}

// Empty tells that nothing at all was sent.
func (f *Fields) Empty() bool { return len(f.raw) == 0 }

// Ignore passes fields over that are told, and not taken.
func (f *Fields) Ignore(keys ...string) {
	for _, key := range keys {
		f.seen[key] = true
	}
}

// Err is all that was wrong.
func (f *Fields) Err() error {
	if len(*f.errs) == 0 {
		return nil
	}
	return Bad("%v", errors.Join(*f.errs...))
}

// Extra is what nobody asked for, to be kept, without secrets.
func (f *Fields) Extra() map[string]json.RawMessage {
	var extra map[string]json.RawMessage
	for key, raw := range f.raw {
		if f.seen[key] || f.path == "" && slices.Contains(served(), key) {
			continue
		}
		if extra == nil {
			extra = map[string]json.RawMessage{}
		}
		extra[key] = withoutSecrets(key, raw)
	}
	return extra
}

var secretKey = regexp.MustCompile(`(?i)(password|passwd|secret|passphrase)`)

// withoutSecrets is a value in which all under keys that speak of secrets is
// null, of whatever type.
func withoutSecrets(key string, raw json.RawMessage) json.RawMessage {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return json.RawMessage("null")
	}
	b, err := json.Marshal(blank(key, v))
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}

func blank(key string, v any) any {
	if secretKey.MatchString(key) {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = blank(k, v[k])
		}
	case []any:
		for i := range v {
			v[i] = blank(key, v[i])
		}
	}
	return v
}
