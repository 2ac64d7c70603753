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

// wasNull tells that what is kept of an attribute has no value: it was sent as
// null, and stays that.
func wasNull(kept rest.Object) bool {
	_, null := kept["value"]
	return null
}

// shownValue is a value as it was sent.
func shownValue(v attribute.Value, null bool) any {
	if text := v.Shown(); text != "" || v.Type != attribute.NIC && !null {
		return text
	}
	return nil
}

// showDefinition fills in an attribute as a build plan declares it.
func showDefinition(o rest.Object, d attribute.Definition) {
	o["value"] = shownValue(d.Default(), wasNull(o))
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
