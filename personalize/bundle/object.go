package bundle

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"goldstream/personalize"
	"goldstream/personalize/attribute"
	"goldstream/personalize/step"
)

// null is a key that stands in all objects and never has a value.
type null struct{}

func (null) MarshalJSON() ([]byte, error) { return []byte("null"), nil }
func (*null) UnmarshalJSON([]byte) error  { return nil }

// The objects as they stand in entries. The order of keys is that of the format.

type scriptObject struct {
	Type     string `json:"type"`
	URI      null   `json:"uri"`
	Category null   `json:"category"`
	ETag     null   `json:"eTag"`
	Created  null   `json:"created"`
	Modified null   `json:"modified"`
	ID       string `json:"id"`
	Name     string `json:"name"`
	About    string `json:"description"`
	Status   null   `json:"status"`
	State    null   `json:"state"`
	personalize.PlanScript
	HPProvided bool `json:"hpProvided"` // before that of PlanScript, which leaves out false
	Attributes null `json:"customAttributes"`
	Dependent  null `json:"dependentArtifacts"`
}

type buildObject struct {
	Type       string            `json:"type"`
	URI        null              `json:"uri"`
	Category   null              `json:"category"`
	ETag       null              `json:"eTag"`
	Created    null              `json:"created"`
	Modified   null              `json:"modified"`
	ID         string            `json:"buildPlanid"`
	Name       string            `json:"name"`
	About      string            `json:"description"`
	Status     null              `json:"status"`
	ReadOnly   bool              `json:"hpProvided"`
	PlanType   personalize.Type  `json:"oeBuildPlanType"`
	Steps      []stepObject      `json:"buildStep"`
	Attributes []attributeObject `json:"customAttributes"`
	Dependent  null              `json:"dependentArtifacts"`
}

type stepObject struct {
	Script     *string    `json:"planScriptUri"`
	Serial     serial     `json:"serialNumber"`
	Parameters null       `json:"parameters"`
	Name       *string    `json:"planScriptName"`
	Native     *step.Step `json:"native,omitempty"`
}

// serial is a number that is text in the format.
type serial int

func (s serial) MarshalJSON() ([]byte, error) { return json.Marshal(strconv.Itoa(int(s))) }

func (s *serial) UnmarshalJSON(b []byte) error {
	n, err := strconv.Atoi(strings.Trim(string(b), `" `))
	if err != nil {
		return attribute.Invalid("%.40s is no serial number of a step", b)
	}
	*s = serial(n)
	return nil
}

type deploymentObject struct {
	Type       string            `json:"type"`
	URI        null              `json:"uri"`
	Category   null              `json:"category"`
	ETag       null              `json:"eTag"`
	Created    null              `json:"created"`
	Modified   null              `json:"modified"`
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	About      string            `json:"description"`
	Status     null              `json:"status"`
	State      null              `json:"state"`
	ReadOnly   bool              `json:"hpProvided"`
	Build      string            `json:"oeBuildPlanURI"` // a name
	Image      string            `json:"goldenImageURI"` // a name
	Attributes []attributeObject `json:"customAttributes"`
	Import     bool              `json:"importMetadata"`
	Dependent  null              `json:"dependentArtifacts"`
}

type imageObject struct {
	Type      string `json:"type"`
	URI       null   `json:"uri"`
	Category  null   `json:"category"`
	ETag      null   `json:"eTag"`
	Created   null   `json:"created"`
	Modified  null   `json:"modified"`
	ID        string `json:"id"`
	Name      string `json:"name"`
	About     string `json:"description"`
	Status    null   `json:"status"`
	State     null   `json:"state"`
	ReadOnly  bool   `json:"readOnly"`
	Capture   bool   `json:"imageCapture"`
	Imported  bool   `json:"importedFromBundle"`
	Bundle    string `json:"bundleName"`
	Checksum  null   `json:"checkSum"`
	Size      int64  `json:"size"`
	Dependent null   `json:"dependentArtifacts"`
}

// attributeObject adds to a definition what deployment plans say of attributes.
type attributeObject struct {
	definition attribute.Definition
	places     *places
}

type places struct {
	ID       string `json:"id,omitempty"`
	Editable *bool  `json:"editable,omitempty"`
	Visible  *bool  `json:"visible,omitempty"`
}

func (a *attributeObject) UnmarshalJSON(b []byte) error {
	a.places = &places{}
	return errors.Join(json.Unmarshal(b, &a.definition), json.Unmarshal(b, a.places))
}

// MarshalJSON leaves the value of a password out.
func (a attributeObject) MarshalJSON() ([]byte, error) {
	d := a.definition
	var value *string
	if text := d.Default().Reveal(); d.Type != attribute.NIC {
		if d.Type == attribute.Password {
			text = ""
		}
		value = &text
	}
	p := a.places
	if p == nil {
		p = &places{}
	}
	return json.Marshal(struct {
		Name        string                `json:"name"`
		About       string                `json:"description"`
		Value       *string               `json:"value"`
		Constraints attribute.Constraints `json:"constraints"`
		Type        attribute.Type        `json:"type"`
		*places
	}{d.Name, d.Description, value, d.Constraints, d.Type, p})
}

// objects reads all of them. Scripts come first: build plans refer to them.
func (o *opening) objects() (bad []error) {
	read := map[string]func(object, string) error{
		"planscript": o.script, "goldenimage": o.image, "buildplan": o.build, "deploymentplan": o.deployment,
	}
	for _, kind := range []string{"planscript", "goldenimage", "buildplan", "deploymentplan"} {
		for _, obj := range o.objs {
			if obj.kind != kind {
				continue
			}
			text, err := o.read(obj.file, maxText)
			if err == nil {
				err = read[kind](obj, strings.TrimPrefix(text, "\ufeff"))
			}
			bad = append(bad, err)
		}
	}
	return bad
}

// decode reads the object of an entry, whose name says its ID.
func (obj object) decode(text string, into any, id *string) error {
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return attribute.Invalid("entry %q is no object of its kind: %v", obj.file.Name, err)
	}
	if *id == "" {
		*id = obj.id
	}
	if *id != obj.id {
		return attribute.Invalid("entry %q has the ID %.128q: both must be the same", obj.file.Name, *id)
	}
	return nil
}

func (o *opening) script(obj object, text string) error {
	var s scriptObject
	if err := obj.decode(text, &s, &s.ID); err != nil {
		return err
	}
	s.PlanScript.ReadOnly = s.HPProvided
	o.b.Scripts = append(o.b.Scripts, Script{Head{s.ID, s.Name, s.About}, s.PlanScript})
	return nil
}

func (o *opening) image(obj object, text string) error {
	var i imageObject
	if err := obj.decode(text, &i, &i.ID); err != nil {
		return err
	}
	o.b.Images = append(o.b.Images, Image{Head: Head{i.ID, i.Name, i.About}, ReadOnly: i.ReadOnly})
	return nil
}

func (o *opening) build(obj object, text string) error {
	var w buildObject
	if err := obj.decode(text, &w, &w.ID); err != nil {
		return err
	}
	p := Build{Head{w.ID, w.Name, w.About}, personalize.BuildPlan{Type: w.PlanType, ReadOnly: w.ReadOnly}}
	slices.SortStableFunc(w.Steps, func(a, b stepObject) int { return int(a.Serial) - int(b.Serial) })
	for _, s := range w.Steps {
		p.Steps = append(p.Steps, personalize.BuildStep{Script: o.b.scriptOf(s), Native: s.Native})
	}
	for _, a := range w.Attributes {
		p.Attributes = append(p.Attributes, a.definition)
	}
	o.b.Builds = append(o.b.Builds, p)
	return nil
}

// scriptOf is the name of a step's script: its own here, or the one told where
// the script is not in the bundle.
func (b *Bundle) scriptOf(s stepObject) string {
	var id, name string
	if s.Script != nil {
		id = (*s.Script)[strings.LastIndexByte(*s.Script, '/')+1:]
	}
	if s.Name != nil {
		name = *s.Name
	}
	for _, script := range b.Scripts {
		if script.ID == id {
			return script.Name
		}
	}
	return name
}

func (o *opening) deployment(obj object, text string) error {
	var w deploymentObject
	if err := obj.decode(text, &w, &w.ID); err != nil {
		return err
	}
	d := Deployment{Head: Head{w.ID, w.Name, w.About}, ReadOnly: w.ReadOnly, Image: w.Image, Build: w.Build}
	for _, a := range w.Attributes {
		d.Attributes = append(d.Attributes, a.definition)
		if off(a.places.Editable) {
			d.Fixed = append(d.Fixed, a.definition.Name)
		}
		if off(a.places.Visible) {
			d.Hidden = append(d.Hidden, a.definition.Name)
		}
	}
	o.b.Deployments = append(o.b.Deployments, d)
	return nil
}

func off(b *bool) bool { return b != nil && !*b }
