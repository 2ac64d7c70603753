package imagestreamer

import (
	"encoding/json"

	"goldstream/api/rest"
	"goldstream/personalize/attribute"
)

// attributesKey is the field that build plans and deployment plans have their
// attributes in. What is sent of one and means nothing here is kept under the
// same key, in the order that the client gave.
const attributesKey = "customAttributes"

// kept is what is kept of each attribute or step, in its order.
func kept(extra map[string]json.RawMessage, key string) (list []rest.Object) {
	_ = json.Unmarshal(extra[key], &list) // what is no list was not kept by keep
	return list
}

// keep makes of the items of a list what is to be kept of them: names, fields
// that are not known, and that a value was null.
func keep(items []*rest.Fields) json.RawMessage {
	list := []rest.Object{}
	for _, f := range items {
		o := rest.Object{}
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
	b, err := json.Marshal(list)
	if err != nil { // what was read as JSON can be written
		return nil
	}
	return b
}

// named finds what is kept of an attribute, and fills a fresh object with it.
func named(list []rest.Object, name string) rest.Object {
	o := rest.Object{}
	for _, k := range list {
		if k["name"] == name {
			for key, v := range k {
				o[key] = v
			}
		}
	}
	return o
}

// shownValue is a value as it was sent: null stays null.
func shownValue(o rest.Object, v attribute.Value) any {
	_, null := o["value"]
	if text := v.Shown(); text != "" || v.Type != attribute.NIC && !null {
		return text
	}
	return nil
}

// showDefinition fills in an attribute as a build plan declares it.
func showDefinition(o rest.Object, d attribute.Definition) {
	o["value"] = shownValue(o, d.Default())
	o["name"], o["type"] = d.Name, string(d.Type)
	o["constraints"], o["description"] = d.Constraints.String(), d.Description
}

// takeDefinition reads an attribute of a build plan. A password that is masked
// stays what it was.
func takeDefinition(f *rest.Fields, old []attribute.Definition) (attribute.Definition, error) {
	name, kind, text := f.Text("name"), attribute.Type(f.Text("type")), f.Scalar("value")
	d := attribute.NewDefinition(name, kind, text)
	if d.Default().Secret() && text != "" && d.Default().Withheld() {
		for _, was := range old {
			if was.Name == name && was.Type == kind {
				d = attribute.NewDefinition(name, kind, was.Default().Reveal())
			}
		}
	}
	d.Description = f.Text("description")
	if raw := f.Raw("constraints"); len(raw) > 0 {
		if err := json.Unmarshal(raw, &d.Constraints); err != nil {
			return d, rest.Bad("constraints of attribute %q: %v", name, err)
		}
	}
	return d, nil
}
