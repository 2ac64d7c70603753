package daemon

import (
	"encoding/json"
	"fmt"
	"strings"

	"goldstream/lifecycle/model"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

// program is what a deployment runs, as it was when it was asked for: plans that
// change meanwhile have no part in it. It is sealed in the journal.
type program struct {
	Steps  []personalize.Step
	Inputs inputs
	// Secrets are the clear texts that are masked in all others.
	Secrets map[string]string `json:",omitempty"`
}

type inputs struct {
	Definitions []attribute.Definition
	Plan        []attribute.Value
	Fixed       []string
	Profile     []attribute.Value
	System      map[string]string
	ProfileName string
}

// secrets are the places of all secrets.
func (p *program) secrets() map[string]*string {
	all := map[string]*string{}
	build := &model.BuildPlan{BuildPlan: personalize.BuildPlan{Attributes: p.Inputs.Definitions}}
	for of, list := range map[string]map[string]*string{
		"build": build.Secrets(), "plan": attribute.Secrets(p.Inputs.Plan), "profile": attribute.Secrets(p.Inputs.Profile),
	} {
		for name, place := range list {
			all[of+" "+name] = place
		}
	}
	return all
}

func (p *program) encode() ([]byte, error) {
	p.Secrets = map[string]string{}
	for name, place := range p.secrets() {
		p.Secrets[name] = *place
	}
	return json.Marshal(p)
}

func decodeProgram(b []byte) (*program, error) {
	p := &program{}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, err
	}
	for name, place := range p.secrets() {
		text, ok := p.Secrets[name]
		if !ok {
			return nil, fmt.Errorf("the program of the deployment has lost the secret of %s", name[strings.IndexByte(name, ' ')+1:])
		}
		*place = text
	}
	return p, nil
}

func (p *program) compile() (*personalize.Plan, error) {
	return personalize.Compile(p.Steps, attribute.Inputs(p.Inputs))
}
