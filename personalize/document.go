package personalize

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"goldstream/personalize/attribute"
	"goldstream/personalize/step"
)

// Limits of a file of documents.
const (
	MaxDocument  = 8 << 20 // bytes
	maxDocuments = 1000
)

// Kind of a document.
type Kind string

// The kinds.
const (
	KindScript     Kind = "PlanScript"
	KindBuild      Kind = "BuildPlan"
	KindDeployment Kind = "DeploymentPlan"
)

// Document is a plan in a file. Others are referred to by name.
type Document struct {
	Kind        Kind   `yaml:"kind"`
	Name        string `yaml:"name"`
	Description string `yaml:"description,omitempty"`

	Type   Type   `yaml:"type,omitempty"`   // of scripts and build plans
	Script string `yaml:"script,omitempty"` // text of a plan script

	Steps      []DocumentStep      `yaml:"steps,omitempty"` // of a build plan
	Attributes []DocumentAttribute `yaml:"attributes,omitempty"`

	Image     string            `yaml:"image,omitempty"` // of a deployment plan: golden image
	BuildPlan string            `yaml:"buildPlan,omitempty"`
	Size      string            `yaml:"size,omitempty"` // of the volume
	Values    map[string]string `yaml:"values,omitempty"`
	Fixed     []string          `yaml:"fixed,omitempty"`  // not to be changed by profiles
	Hidden    []string          `yaml:"hidden,omitempty"` // not shown by profiles
}

// DocumentStep is a step of a build plan: the name of a plan script, or a native
// step.
type DocumentStep struct {
	Script    string `yaml:"script,omitempty"`
	step.Step `yaml:",inline"`
}

// DocumentAttribute is the definition of an attribute.
type DocumentAttribute struct {
	Name        string         `yaml:"name" json:"name"`
	Type        attribute.Type `yaml:"type" json:"type"`
	Default     string         `yaml:"default,omitempty" json:"default,omitempty"`
	Description string         `yaml:"description,omitempty" json:"description,omitempty"`
	Constraints map[string]any `yaml:"constraints,omitempty" json:"constraints,omitempty"`
}

// fields says which fields a kind has, beside kind, name and description.
func (k Kind) fields() []string {
	switch k {
	case KindScript:
		return []string{"Type", "Script"}
	case KindBuild:
		return []string{"Type", "Steps", "Attributes"}
	case KindDeployment:
		return []string{"Image", "BuildPlan", "Size", "Values", "Fixed", "Hidden"}
	}
	return nil
}

// ReadDocuments reads all documents of a file. file stands in messages. Error:
// attribute.ErrInvalid, but for those of r.
func ReadDocuments(file string, r io.Reader) ([]Document, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxDocument {
		return nil, attribute.Invalid("%s has more than %d MiB: split it", file, MaxDocument>>20)
	}
	var list []Document
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	for {
		var doc Document
		err := d.Decode(&doc)
		switch {
		case errors.Is(err, io.EOF) && len(list) == 0:
			return nil, attribute.Invalid("%s has no document: write kind, name and what the kind needs", file)
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return nil, attribute.Invalid("%s, document %d: %s", file, len(list)+1, strings.ReplaceAll(err.Error(), " in type personalize.Document", ""))
		case len(list) == maxDocuments:
			return nil, attribute.Invalid("%s has more than %d documents: split it", file, maxDocuments)
		}
		if reflect.ValueOf(doc).IsZero() {
			continue // nothing between two ---
		}
		if err := doc.check(); err != nil {
			return nil, attribute.Invalid("%s, document %d: %v", file, len(list)+1, err)
		}
		list = append(list, doc)
	}
}

// check finds fields of other kinds, and a missing name.
func (d *Document) check() error {
	allowed := d.Kind.fields()
	if allowed == nil {
		return attribute.Invalid("kind %.64q is unknown: write %s, %s or %s", string(d.Kind), KindScript, KindBuild, KindDeployment)
	}
	if d.Name == "" {
		return attribute.Invalid("a %s without a name", d.Kind)
	}
	v := reflect.ValueOf(*d)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if slices.Contains([]string{"kind", "name", "description", "-"}, name) || slices.Contains(allowed, f.Name) || v.Field(i).IsZero() {
			continue
		}
		return attribute.Invalid("%s %q has the field %q, which is of another kind", d.Kind, d.Name, name)
	}
	return nil
}

// PlanScript is the script of a document of that kind.
func (d *Document) PlanScript() PlanScript {
	return PlanScript{Type: d.Type, Content: d.Script}
}

// Build returns the build plan of a document of that kind; uri finds scripts by
// their names.
func (d *Document) Build(uri func(script string) (string, error)) (BuildPlan, error) {
	plan := BuildPlan{Type: d.Type}
	for _, s := range d.Steps {
		one := BuildStep{}
		if !reflect.ValueOf(s.Step).IsZero() {
			one.Native = &s.Step
		}
		if s.Script == "" {
			plan.Steps = append(plan.Steps, one)
			continue
		}
		to, err := uri(s.Script)
		if err != nil {
			return plan, err
		}
		one.Script = to
		plan.Steps = append(plan.Steps, one)
	}
	for _, a := range d.Attributes {
		def, err := a.definition()
		if err != nil {
			return plan, err
		}
		plan.Attributes = append(plan.Attributes, def)
	}
	return plan, nil
}

func (a DocumentAttribute) definition() (attribute.Definition, error) {
	d := attribute.NewDefinition(a.Name, a.Type, a.Default)
	d.Description = a.Description
	if len(a.Constraints) == 0 {
		return d, nil
	}
	text, err := json.Marshal(a.Constraints)
	if err != nil {
		return d, attribute.Invalid("constraints of attribute %q: %v", a.Name, err)
	}
	d.Constraints, err = attribute.ParseConstraints(string(text))
	return d, err
}

// Retype returns values with the types that definitions say.
func Retype(values []attribute.Value, defs []attribute.Definition) []attribute.Value {
	kinds := map[string]attribute.Type{}
	for _, def := range defs {
		kinds[def.Name] = def.Type
	}
	var list []attribute.Value
	for _, v := range values {
		base, _, _ := strings.Cut(v.Name, ".")
		list = append(list, attribute.NewValue(v.Name, kinds[base], v.Reveal()))
	}
	return list
}

// Settings are the values of a deployment plan, of which definitions know the
// types.
func (d *Document) Settings(defs []attribute.Definition) []attribute.Value {
	var list []attribute.Value
	for name, text := range d.Values {
		list = append(list, attribute.NewValue(name, "", text))
	}
	list = Retype(list, defs)
	slices.SortFunc(list, func(a, b attribute.Value) int { return strings.Compare(a.Name, b.Name) })
	return list
}
