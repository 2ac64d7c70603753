package rest

import "encoding/json"

// Kept is what is kept of each item of a list, in the order of the client: see
// Keep.
func Kept(extra map[string]json.RawMessage, key string) (list []Object) {
	_ = json.Unmarshal(extra[key], &list) // what is no list was not kept by Keep
	return list
}

// Keep makes of the items of a list what is to be kept of them: names, fields
// that nobody asked for, and that a value was null.
func Keep(items []*Fields) json.RawMessage {
	list := []Object{}
	for _, f := range items {
		o := Object{}
		if name := f.Text("name"); name != "" {
			o["name"] = name
		}
		if f.IsNull("value") {
			o["value"] = nil
		}
		for key, raw := range f.Extra() {
			o[key] = raw
		}
		list = append(list, o)
	}
	return raw(list)
}

// KeepObject is a whole object with what is kept of it, and other fields.
func KeepObject(f *Fields, more Object) json.RawMessage {
	o := Object{}
	for key, value := range f.Extra() {
		o[key] = value
	}
	for key, value := range more {
		o[key] = value
	}
	return raw(o)
}

func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil { // what was read as JSON can be written
		return nil
	}
	return b
}

// Named finds what is kept of the item of a name, and fills a fresh object with
// it.
func Named(list []Object, name string) Object {
	o := Object{}
	for _, k := range list {
		if k["name"] == name {
			for key, v := range k {
				o[key] = v
			}
		}
	}
	return o
}
