package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"goldstream/api/v1"
	"goldstream/personalize"
	"goldstream/personalize/step"
)

func planKindNames(*call) []string { return []string{"script", "build", "deployment"} }

func planNames(c *call) []string {
	return daemonNames(c, (*v1.Client).Plans, func(p v1.PlanInfo) string { return p.Name })
}

func planKind(word string) (personalize.Kind, error) {
	switch strings.ToLower(word) {
	case "script", "planscript":
		return personalize.KindScript, nil
	case "build", "buildplan":
		return personalize.KindBuild, nil
	case "deployment", "deploymentplan":
		return personalize.KindDeployment, nil
	}
	return "", usagef("%q is no kind of plan: write script, build or deployment", word)
}

// importPlans sends all files as one, so that all are kept or none.
func importPlans(c *call) error {
	var all strings.Builder
	for _, path := range c.Args().Slice() {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(io.LimitReader(f, personalize.MaxDocument+1))
		f.Close()
		if err != nil {
			return err
		}
		// By itself first: messages then name the file.
		if _, err := personalize.ReadDocuments(path, strings.NewReader(string(b))); err != nil {
			return err
		}
		fmt.Fprintf(&all, "---\n%s\n", b)
	}
	return c.with(true, func(client *v1.Client) error {
		changes, err := client.ImportPlans(c.ctx, all.String(), c.Bool("dry-run"))
		if err != nil {
			return err
		}
		return c.print(changes.Plans, func(w io.Writer) {
			fmt.Fprintln(w, "KIND\tNAME\tCHANGE")
			for _, p := range changes.Plans {
				fmt.Fprintf(w, "%s\t%s\t%s\n", p.Kind, p.Name, p.Change)
			}
		})
	})
}

func listPlans(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		plans, err := client.Plans(c.ctx)
		if err != nil {
			return err
		}
		return c.print(plans, func(w io.Writer) {
			fmt.Fprintln(w, "KIND\tNAME\tTYPE\tIMAGE\tBUILD PLAN\tSTEPS\tMODIFIED")
			for _, p := range plans {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", p.Kind, p.Name, orDash(string(p.Type)), orDash(p.Image), orDash(p.BuildPlan), len(p.Steps), localTime(p.Modified))
			}
		})
	})
}

func showPlan(c *call) error {
	kind, err := planKind(c.arg(0))
	if err != nil {
		return err
	}
	return c.with(false, func(client *v1.Client) error {
		p, err := client.Plan(c.ctx, kind, c.arg(1))
		if err != nil {
			return err
		}
		return c.print(p, func(w io.Writer) { showPlanText(w, p) })
	})
}

func showPlanText(w io.Writer, p v1.Plan) {
	size := ""
	if p.Size > 0 {
		size = exactSize(p.Size)
	}
	fields(w, [][2]string{
		{"kind", string(p.Kind)}, {"name", p.Name}, {"description", p.Description}, {"uri", p.URI}, {"type", string(p.Type)},
		{"image", p.Image}, {"size", size}, {"build plan", p.BuildPlan}, {"fixed", strings.Join(p.Fixed, " ")}, {"hidden", strings.Join(p.Hidden, " ")}, {"modified", localTime(p.Modified)},
	})
	for i, s := range p.Steps {
		fmt.Fprintf(w, "step %d\t%s\n", i+1, s)
		if i < len(p.Native) && p.Native[i] != nil {
			showNative(w, p.Native[i])
		}
	}
	for _, d := range p.Attributes {
		fmt.Fprintf(w, "attribute\t%s %s\n", d, d.Constraints)
	}
	for _, v := range p.Values {
		fmt.Fprintf(w, "value\t%s\n", v)
	}
	if p.Script != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSuffix(p.Script, "\n"))
	}
}

// showNative shows a native step as people write it.
func showNative(w io.Writer, s *step.Step) {
	text, err := yaml.Marshal(s)
	if err != nil {
		text = []byte(err.Error())
	}
	for line := range strings.Lines(string(text)) {
		fmt.Fprintf(w, "\t  %s", line)
	}
}

func deletePlan(c *call) error {
	kind, err := planKind(c.arg(0))
	if err != nil {
		return err
	}
	return c.with(false, func(client *v1.Client) error {
		if err := client.DeletePlan(c.ctx, kind, c.arg(1)); err != nil {
			return err
		}
		return c.printDeleted(string(kind), c.arg(1))
	})
}
