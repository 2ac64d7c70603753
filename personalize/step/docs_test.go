package step

import (
	"context"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"goldstream/personalize/attribute"
)

// TestDocumentedSteps does what docs/steps.md shows, each section on a disk of its
// own, and misses none of the kinds.
func TestDocumentedSteps(t *testing.T) {
	text, err := os.ReadFile("../../docs/steps.md")
	require.NoError(t, err)
	r, err := attribute.Resolve(attribute.Inputs{
		Definitions: []attribute.Definition{
			attribute.NewDefinition("HostName", attribute.Hostname, "web-1"), attribute.NewDefinition("Password", attribute.Password, "s3cret"),
			attribute.NewDefinition("Keys", attribute.String, key), attribute.NewDefinition("NIC1", attribute.NIC, ""),
		},
		Profile: []attribute.Value{attribute.NewValue("NIC1.mac", "", "52:54:00:00:00:01"), attribute.NewValue("NIC1.dhcp", "", "true")},
	})
	require.NoError(t, err)
	types := map[string]attribute.Type{"HostName": attribute.Hostname, "Password": attribute.Password, "Keys": attribute.String, "NIC1": attribute.NIC}

	shown := map[string]bool{}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		var steps []Step
		d := yaml.NewDecoder(strings.NewReader(indented(body)))
		d.KnownFields(true)
		require.NoError(t, d.Decode(&steps), title)
		disk := whole{withAccounts(t), new(int)}
		require.NoError(t, disk.root.MkdirAll("etc/ssh", 0o755))
		for _, s := range steps {
			kind, err := s.Kind()
			require.NoError(t, err)
			require.Equal(t, title, kind)
			require.NoError(t, s.Check(types), title)
			ops, err := s.Plan(context.Background(), disk, r.Lookup)
			require.NoError(t, err, title)
			require.NoError(t, Apply(context.Background(), disk, ops), title)
			shown[kind] = true
		}
	}
	v := reflect.TypeFor[Step]()
	for i := range v.NumField() {
		kind, _, _ := strings.Cut(v.Field(i).Tag.Get("yaml"), ",")
		require.True(t, shown[kind], "docs/steps.md shows no %s step", kind)
	}
	for _, name := range Traits() {
		require.Contains(t, string(text), "\n| `"+name+"` |")
	}
}

// indented are the examples of a section: lines with four blanks in front.
func indented(section string) string {
	var out strings.Builder
	for line := range strings.Lines(section) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			out.WriteString(code)
		}
	}
	return out.String()
}
