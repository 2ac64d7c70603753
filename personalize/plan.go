package personalize

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"goldstream/personalize/attribute"
	"goldstream/personalize/guestfish"
	"goldstream/personalize/step"
)

// Limits of plans.
const (
	MaxScript = 1 << 20 // bytes
	MaxSteps  = 256     // of a build plan
)

// Type says what a script or plan is for.
type Type string

// The types. A build plan is never General.
const (
	Deploy  Type = "deploy"
	Capture Type = "capture"
	General Type = "general"
)

// PlanScript is the text of one step.
type PlanScript struct {
	Type     Type   `json:"planType"`
	Content  string `json:"content"`
	ReadOnly bool   `json:"hpProvided,omitempty"`
}

// Check checks the script by itself. name stands in messages. Error:
// attribute.ErrInvalid.
func (s PlanScript) Check(name string) error {
	_, err := s.Draft(name)
	return err
}

// Draft reads the script with the defaults that stand in it. Errors as of Check.
func (s PlanScript) Draft(name string) (*guestfish.Program, error) {
	switch {
	case s.Type != Deploy && s.Type != Capture && s.Type != General:
		return nil, attribute.Invalid("plan script %q has the type %.64q: use deploy, capture or general", name, string(s.Type))
	case len(s.Content) > MaxScript:
		return nil, attribute.Invalid("plan script %q has %d bytes: use at most %d", name, len(s.Content), MaxScript)
	case !utf8.ValidString(s.Content) || strings.IndexByte(s.Content, 0) >= 0:
		return nil, attribute.Invalid("plan script %q is no text in UTF-8", name)
	}
	text, err := attribute.Expand(s.text(), defaults)
	if err != nil {
		return nil, fmt.Errorf("plan script %q: %w", name, err)
	}
	return guestfish.Parse(name, text, guestfish.Options{Draft: true})
}

// defaults lets each placeholder stand for the default in the script.
func defaults(string, string) (attribute.Value, bool, bool) { return attribute.Value{}, false, true }

// text is the script with lines that end as guestfish wants them. Scripts that
// were sent from Windows have CR LF throughout.
func (s PlanScript) text() string {
	lf := strings.Count(s.Content, "\n")
	if lf == 0 || strings.Count(s.Content, "\r\n") != lf {
		return s.Content
	}
	return strings.ReplaceAll(s.Content, "\r\n", "\n")
}

// BuildPlan is an ordered list of steps and the attributes that they use.
type BuildPlan struct {
	Type       Type                   `json:"oeBuildPlanType"`
	Steps      []BuildStep            `json:"buildStep,omitempty"`
	Attributes []attribute.Definition `json:"customAttributes,omitempty"`
	ReadOnly   bool                   `json:"hpProvided,omitempty"`
}

// BuildStep says what one step does: it names a script, or is a native step.
type BuildStep struct {
	Script string     `json:"planScriptUri,omitempty"`
	Native *step.Step `json:"native,omitempty"`
}

// Check checks the plan without its scripts. Error: attribute.ErrInvalid.
func (b BuildPlan) Check(name string) error {
	switch {
	case b.Type != Deploy && b.Type != Capture:
		return attribute.Invalid("build plan %q has the type %.64q: use deploy or capture", name, string(b.Type))
	case len(b.Steps) > MaxSteps:
		return attribute.Invalid("build plan %q has %d steps: use at most %d", name, len(b.Steps), MaxSteps)
	case b.Type == Capture && len(b.Attributes) > 0:
		return attribute.Invalid("build plan %q is for captures, which have no attributes: leave them out", name)
	}
	known := b.known()
	for i, s := range b.Steps {
		switch {
		case s.Script != "" && s.Native != nil:
			return attribute.Invalid("step %d of build plan %q has a plan script and something else too: make two steps of it", i+1, name)
		case s.Native != nil:
			if err := s.Native.Check(known); err != nil {
				return attribute.Invalid("step %d of build plan %q: %v", i+1, name, err)
			}
		case s.Script == "":
			return attribute.Invalid("step %d of build plan %q names no plan script, and nothing else to do", i+1, name)
		}
	}
	return attribute.CheckDefinitions(name, b.Attributes)
}

// known are the attributes that the plan declares.
func (b BuildPlan) known() map[string]attribute.Type {
	known := map[string]attribute.Type{}
	for _, d := range b.Attributes {
		known[d.Name] = d.Type
	}
	return known
}

// Step is one step of a plan with all that it needs.
type Step struct {
	Name   string     // of the script, or what the native step is called
	Script PlanScript // unless Native
	Native *step.Step `json:",omitempty"`
}

// CheckSteps checks a plan together with its scripts: their types, and that
// each placeholder is declared. Error: attribute.ErrInvalid; Problems where
// there are several.
func (b BuildPlan) CheckSteps(name string, steps []Step) error {
	known := b.known()
	var bad guestfish.Problems
	for i, s := range steps {
		if s.Native != nil { // Check has seen it
			continue
		}
		if s.Script.Type != b.Type && s.Script.Type != General {
			return attribute.Invalid("step %d of build plan %q is the script %q of type %s: a plan for %s takes scripts of types %s and general", i+1, name, s.Name, s.Script.Type, b.Type, b.Type)
		}
		bad = append(bad, undeclared(s, known)...)
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}

func undeclared(s Step, known map[string]attribute.Type) (bad guestfish.Problems) {
	text := s.Script.text()
	for _, p := range attribute.Placeholders(text) {
		kind, ok := known[p.Name]
		if attribute.System(p.Name) || ok && (kind == attribute.NIC) == (p.Member != "") {
			continue
		}
		line, column := lineOf(text, p.Start)
		bad = append(bad, guestfish.Problem{
			Position: guestfish.Position{Script: s.Name, Line: line, Column: column},
			Text:     undeclaredText(p, kind, ok),
		})
	}
	return bad
}

func undeclaredText(p attribute.Placeholder, kind attribute.Type, known bool) string {
	switch {
	case !known:
		return fmt.Sprintf("the build plan declares no attribute %q: declare it, or write @@ where @ itself is meant", p.Name)
	case kind == attribute.NIC:
		return fmt.Sprintf("%q is a NIC: name its member, such as @%s.ipaddress@", p.Name, p.Name)
	}
	return fmt.Sprintf("%q has the type %s and so no member %q", p.Name, kind, p.Member)
}

func lineOf(text string, at int) (line, column int) {
	return 1 + strings.Count(text[:at], "\n"), at - strings.LastIndexByte(text[:at], '\n')
}
