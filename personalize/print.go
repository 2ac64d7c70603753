package personalize

import (
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Print writes the program for people, with secrets masked.
func (p *Plan) Print(w io.Writer) error {
	var out strings.Builder
	for i, s := range p.Steps {
		if i > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "# step %d: %s\n", i+1, s.Name)
		if s.Shown != nil {
			text, err := yaml.Marshal(s.Shown)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(text)) {
				fmt.Fprintf(&out, "       %s", line)
			}
		}
		for _, problem := range s.Warnings {
			fmt.Fprintf(&out, "# left out: %s\n", problem)
		}
		for _, c := range s.Commands {
			fmt.Fprintf(&out, "%5d  %s\n", c.Position.Line, c)
			for line := range strings.Lines(c.ShownHeredoc()) {
				fmt.Fprintf(&out, "       | %s\n", strings.TrimSuffix(line, "\n"))
			}
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
