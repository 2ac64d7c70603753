package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/personalize"
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
