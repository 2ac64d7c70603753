package main

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRules shows the scenarios with the real program.
func TestRules(t *testing.T) {
	for _, tool := range []string{"nbdcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: run 'make deps'", tool)
		}
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "goldstream")
	out, err := exec.Command("go", "build", "-o", program, "goldstream/cmd/goldstream").CombinedOutput()
	require.NoError(t, err, string(out))
	var said bytes.Buffer
	d := &demo{config: config{program: program, logs: dir, rulesOnly: true}, dir: dir, out: &said}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	require.NoError(t, d.runRules(ctx), said.String())
	var rules, became string
	for _, r := range d.ruleRows {
		rules, became = rules+r.rule+"\n", became+r.became+"\n"
	}
	require.Len(t, d.ruleRows, 8)
	for _, row := range []string{"row 7", "row 1", "row 2", "row 3", "row 4", "row 5"} {
		require.Contains(t, rules, row)
	}
	require.Contains(t, rules, "in east and cannot access the volume, whose home is west")
	require.Contains(t, rules, "from SY480 to SY660")
	require.Equal(t, 3, strings.Count(became, "kept, "))
	require.Equal(t, 4, strings.Count(became, "made, reads as its image"))
	require.Equal(t, 3, strings.Count(became, "deleted; a restore had"))
	var report bytes.Buffer
	d.reportRules(&report)
	for line := range strings.Lines(report.String()) {
		require.LessOrEqual(t, len([]rune(line)), 132, "the table is for terminals: %s", line)
	}
}
