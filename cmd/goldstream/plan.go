package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"

	"goldstream/personalize"
	"goldstream/personalize/attribute"
	"goldstream/personalize/guestfish"
)

func planCommands() []*cli.Command {
	return commands([]verb{
		{
			name: "check", args: "FILE…", usage: "see whether plans and plan scripts are right, without a daemon; a file that does not end in .yaml or .yml is the text of one script",
			examples: []string{"goldstream plan check web.yaml", "goldstream plan check *.gf"},
			action:   checkPlans,
		},
		{
			name: "attributes", args: "FILE…", usage: "print what a build plan has to declare for the scripts of files to run, with the defaults that stand in them, as YAML; what build plans of the files declare is left out",
			examples: []string{"goldstream plan attributes mount.gf host.gf", "goldstream plan attributes web.yaml"},
			action:   planAttributes,
		},
		{
			name: "import", args: "FILE…", usage: "keep the plans of YAML files; those that are there already are changed",
			examples: []string{"goldstream plan import web.yaml", "goldstream plan import site/*.yaml --dry-run"},
			flags:    []cli.Flag{&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, and do nothing"}},
			action:   importPlans,
		},
		{
			name: "list", usage: "list the plans",
			examples: []string{"goldstream plan list"},
			action:   listPlans,
		},
		{
			name: "show", args: "KIND NAME", usage: "show a plan; KIND is script, build or deployment",
			examples: []string{"goldstream plan show script mount", "goldstream plan show deployment debian-12 --json"},
			action:   showPlan, complete: names{planKindNames, planNames},
		},
		{
			name: "delete", args: "KIND NAME", usage: "delete a plan that no other uses",
			examples: []string{"goldstream plan delete deployment debian-12"},
			action:   deletePlan, complete: names{planKindNames, planNames},
		},
		{
			name: "commands", usage: "list the commands that plan scripts may use",
			examples: []string{"goldstream plan commands"},
			action:   listPlanCommands,
		},
	})
}

func checkPlans(c *call) error {
	var docs []personalize.Document
	for _, path := range c.Args().Slice() {
		list, err := readPlans(path)
		if err != nil {
			return err
		}
		docs = append(docs, list...)
	}
	reports, err := personalize.CheckDocuments(docs)
	if err != nil {
		return err
	}
	return c.print(reports, func(w io.Writer) {
		fmt.Fprintln(w, "KIND\tNAME\tSTEPS\tCOMMANDS\tATTRIBUTES")
		for _, r := range reports {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", r.Kind, r.Name, r.Steps, r.Commands, orDash(strings.Join(r.Uses, " ")))
		}
		for _, r := range reports {
			for _, p := range r.Warnings {
				fmt.Fprintf(w, "left out at run time: %s\n", p)
			}
			for _, m := range r.Missing {
				fmt.Fprintf(w, "%s %s is not checked with its %s: name its file, too\n", r.Kind, r.Name, m)
			}
		}
	})
}

// planAttributes prints what scripts use, for the author of a build plan.
func planAttributes(c *call) error {
	var scripts []personalize.PlanScript
	var declared []attribute.Definition
	for _, path := range c.Args().Slice() {
		docs, err := readPlans(path)
		if err != nil {
			return err
		}
		for i := range docs {
			switch docs[i].Kind {
			case personalize.KindScript:
				s := docs[i].PlanScript()
				if err := s.Check(docs[i].Name); err != nil {
					return err
				}
				scripts = append(scripts, s)
			case personalize.KindBuild:
				plan, err := docs[i].Build(func(name string) (string, error) { return name, nil })
				if err != nil {
					return err
				}
				declared = append(declared, plan.Attributes...)
			}
		}
	}
	out := struct {
		Attributes []personalize.DocumentAttribute `yaml:"attributes" json:"attributes"`
	}{personalize.Seed(scripts, declared)}
	text, err := yaml.Marshal(out)
	if err != nil {
		return err
	}
	return c.print(out, func(w io.Writer) { fmt.Fprintf(w, "%s", text) })
}

// readPlans reads the documents of a file, or a script.
func readPlans(path string) ([]personalize.Document, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if slices.Contains([]string{".yaml", ".yml"}, strings.ToLower(filepath.Ext(path))) {
		return personalize.ReadDocuments(path, f)
	}
	text, err := io.ReadAll(io.LimitReader(f, personalize.MaxScript+1)) // the check tells that it is too long
	return []personalize.Document{{Kind: personalize.KindScript, Name: path, Type: personalize.General, Script: string(text)}}, err
}

func listPlanCommands(c *call) error {
	known := guestfish.Known()
	usages := map[string]string{}
	for _, name := range known.Names() {
		usages[name] = strings.TrimPrefix(known[name].Usage(), known[name].Name+" ")
		if len(known[name].Params)+len(known[name].Options) == 0 {
			usages[name] = ""
		}
	}
	return c.print(usages, func(w io.Writer) {
		for _, name := range known.Names() {
			fmt.Fprintf(w, "%s\t%s\n", name, usages[name])
		}
	})
}
