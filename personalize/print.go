package personalize

import (
	"fmt"
	"io"
	"strings"
)

// Print writes the program for people, with secrets masked.
func (p *Plan) Print(w io.Writer) error {
	var out strings.Builder
	for i, s := range p.Steps {
		if i > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "# step %d: %s\n", i+1, s.Name)
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
