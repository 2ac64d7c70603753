package rest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"goldstream/lifecycle/model"
)

// Object is a JSON object of an answer.
type Object map[string]any

// timeForm is how dates are written: UTC, milliseconds.
const timeForm = "2006-01-02T15:04:05.000Z"

// Time is a date as clients read it, null where there is none.
func Time(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(timeForm)
}

// OrNull is null instead of "".
func OrNull[T ~string](s T) any {
	if s == "" {
		return nil
	}
	return string(s)
}

// List is [] instead of null.
func List[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Default fills in what is not there.
func (o Object) Default(key string, value any) {
	if _, ok := o[key]; !ok {
		o[key] = value
	}
}

// Defaults fills in what is not there.
func (o Object) Defaults(d Object) {
	for key, value := range d {
		o.Default(key, value)
	}
}

// head fills in what all resources have, over what is only kept of them.
func (o Object) head(typ string, m *model.Meta) {
	for key, value := range m.Extra {
		o[key] = value
	}
	o["type"], o["category"] = typ, string(m.URI.Kind())
	o["uri"], o["id"] = string(m.URI), m.URI.ID()
	o["name"], o["description"] = m.Name, m.Description
	o["status"], o["state"] = "OK", "Normal"
	o["eTag"], o["created"], o["modified"] = m.ETag, Time(m.Created), Time(m.Modified)
}

// served are the fields of head that clients send back, and that are not theirs
// to set.
func served() []string {
	return []string{"type", "category", "uri", "id", "status", "state", "eTag", "etag", "created", "modified", "refreshState", "stateReason"}
}

// at is the value at a path of keys with dots between them, nil for nothing.
func (o Object) at(path string) any {
	first, rest, more := strings.Cut(path, ".")
	v, ok := o[first]
	if raw, is := v.(json.RawMessage); is {
		v = nil
		_ = json.Unmarshal(raw, &v) // was valid when it was kept
	}
	if !ok || !more {
		return v
	}
	switch inner := v.(type) {
	case Object:
		return inner.at(rest)
	case map[string]any:
		return Object(inner).at(rest)
	}
	return nil
}

// text is a value as filters compare it.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return fmt.Sprint(v)
}
