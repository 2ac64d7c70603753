package nbd

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docs/nbd.md says which tests keep the server to the protocol. This one keeps
// the page to the tests: each that it names is there, and each demand has one.

const mustCount = 32

func TestTheDocumentedTestsAreThere(t *testing.T) {
	page, err := os.ReadFile("../docs/nbd.md")
	require.NoError(t, err)
	funcs := map[string]string{} // source of a package's tests
	named := regexp.MustCompile("`(?:([a-z/-]+)/)?(Test[A-Za-z0-9]+)`")
	row := regexp.MustCompile(`^\| \d+ \|`)
	musts := 0
	for line := range strings.Lines(string(page)) {
		tests := named.FindAllStringSubmatch(line, -1)
		if row.MatchString(line) {
			musts++
			require.NotEmpty(t, tests, line)
		}
		for _, m := range tests {
			dir := "../" + m[1]
			if m[1] == "" {
				dir = "."
			}
			if funcs[dir] == "" {
				funcs[dir] = testSource(t, dir)
			}
			require.Contains(t, funcs[dir], "func "+m[2]+"(t *testing.T)", line)
		}
	}
	require.Equal(t, mustCount, musts)
}

func testSource(t *testing.T, dir string) string {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files, dir)
	var all strings.Builder
	for _, f := range files {
		p, err := os.ReadFile(f)
		require.NoError(t, err)
		all.Write(p)
	}
	return all.String()
}
