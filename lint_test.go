// Package goldstream has no code: this file keeps the architecture.
package goldstream

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// arrows says which of our packages each room may import. A room that is not
// listed is not in ARCHITECTURE.md: add it there first.
var arrows = map[string][]string{
	"goldstream":                           {},
	"goldstream/access":                    {},
	"goldstream/blockstore":                {},
	"goldstream/blockstore/source":         {"goldstream/blockstore"},
	"goldstream/nbd":                       {},
	"goldstream/jail":                      {},
	"goldstream/disk":                      {},
	"goldstream/attach":                    {},
	"goldstream/fuse":                      {"goldstream/disk"},
	"goldstream/doctor":                    {},
	"goldstream/cmd/goldstream-guest":      {"goldstream/attach", "goldstream/netboot/initramfs", "goldstream/personalize/sandbox/guest"},
	"goldstream/netboot":                   {"goldstream/netboot/initramfs"},
	"goldstream/netboot/initramfs":         {"goldstream/attach", "goldstream/netboot/initramfs/lease"},
	"goldstream/netboot/initramfs/lease":   {},
	"goldstream/netboot/proxydhcp":         {},
	"goldstream/personalize/sandbox":       {"goldstream/jail", "goldstream/personalize/sandbox/guest", "goldstream/personalize/sandbox/wire"},
	"goldstream/personalize/inspect":       {"goldstream/personalize/sandbox"},
	"goldstream/personalize/runner":        {"goldstream/personalize", "goldstream/personalize/attribute", "goldstream/personalize/guestfish", "goldstream/personalize/sandbox", "goldstream/personalize/sandbox/wire"},
	"goldstream/personalize/sandbox/guest": {"goldstream/disk", "goldstream/personalize/sandbox/wire"},
	"goldstream/personalize/sandbox/wire":  {},
	"goldstream/personalize/session":       {"goldstream/personalize", "goldstream/personalize/inspect", "goldstream/personalize/runner", "goldstream/personalize/sandbox", "goldstream/personalize/sandbox/wire", "goldstream/personalize/step"},
	"goldstream/personalize/attribute":     {},
	"goldstream/personalize/guestfish":     {"goldstream/personalize/attribute"},
	"goldstream/personalize/step":          {"goldstream/personalize/attribute"},
	"goldstream/personalize/bundle":        {"goldstream/personalize", "goldstream/personalize/attribute", "goldstream/personalize/step"},
	"goldstream/personalize":               {"goldstream/personalize/attribute", "goldstream/personalize/guestfish", "goldstream/personalize/step"},
	"goldstream/lifecycle/model":           {"goldstream/personalize", "goldstream/personalize/attribute"},
	"goldstream/lifecycle/rules":           {"goldstream/lifecycle/model"},
	"goldstream/lifecycle/store":           {"goldstream/lifecycle/model"},
	"goldstream/lifecycle/task":            {},
	"goldstream/api/v1":                    {"goldstream/access", "goldstream/blockstore", "goldstream/lifecycle/store", "goldstream/lifecycle/task", "goldstream/netboot", "goldstream/personalize", "goldstream/personalize/attribute", "goldstream/personalize/step"},
	"goldstream/daemon":                    {"goldstream/access", "goldstream/api/imagestreamer", "goldstream/api/oneview", "goldstream/api/rest", "goldstream/api/v1", "goldstream/blockstore", "goldstream/blockstore/source", "goldstream/fuse", "goldstream/jail", "goldstream/lifecycle/model", "goldstream/lifecycle/rules", "goldstream/lifecycle/store", "goldstream/lifecycle/task", "goldstream/nbd", "goldstream/netboot", "goldstream/netboot/proxydhcp", "goldstream/personalize", "goldstream/personalize/attribute", "goldstream/personalize/bundle", "goldstream/personalize/inspect", "goldstream/personalize/runner", "goldstream/personalize/sandbox", "goldstream/personalize/session"},
	"goldstream/api/rest":                  {"goldstream/api/v1", "goldstream/blockstore", "goldstream/lifecycle/model", "goldstream/lifecycle/store", "goldstream/lifecycle/task"},
	"goldstream/api/oneview":               {"goldstream/api/imagestreamer", "goldstream/api/rest", "goldstream/lifecycle/model", "goldstream/lifecycle/rules", "goldstream/personalize/attribute"},
	"goldstream/api/transcript":            {},
	"goldstream/api/imagestreamer":         {"goldstream/api/rest", "goldstream/api/v1", "goldstream/blockstore", "goldstream/lifecycle/model", "goldstream/lifecycle/store", "goldstream/lifecycle/task", "goldstream/personalize", "goldstream/personalize/attribute"},
	"goldstream/cmd/goldstream":            {"goldstream/access", "goldstream/api/v1", "goldstream/attach", "goldstream/blockstore", "goldstream/daemon", "goldstream/doctor", "goldstream/fuse", "goldstream/jail", "goldstream/lifecycle/task", "goldstream/netboot", "goldstream/personalize", "goldstream/personalize/attribute", "goldstream/personalize/bundle", "goldstream/personalize/guestfish", "goldstream/personalize/inspect", "goldstream/personalize/sandbox", "goldstream/personalize/step"},
	"goldstream/cmd/demo":                  {},
	"goldstream/bench":                     {"goldstream/api/v1", "goldstream/blockstore", "goldstream/blockstore/source", "goldstream/nbd"},
}

// chosen are the modules that the program may need; a new one is a decision.
var chosen = []string{
	"github.com/cockroachdb/pebble/v2",
	"github.com/elastic/go-seccomp-bpf",
	"github.com/getkin/kin-openapi", // in tests: whether the API's description is one
	"github.com/hanwen/go-fuse/v2",
	"github.com/klauspost/compress",
	"github.com/stretchr/testify",
	"github.com/therootcompany/xz",
	"github.com/ulikunitz/xz",
	"github.com/urfave/cli/v2",
	"go.uber.org/goleak",
	"go.yaml.in/yaml/v3",
	"golang.org/x/crypto",
	"golang.org/x/net",
	"golang.org/x/sync",
	"golang.org/x/sys",
	"golang.org/x/term",
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Doc        string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Doc", "./...").Output()
	require.NoError(t, err)
	var list []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return list
		} else {
			require.NoError(t, err)
		}
		list = append(list, p)
	}
}

func ours(path string) bool { return path == "goldstream" || strings.HasPrefix(path, "goldstream/") }

func TestArrows(t *testing.T) {
	for _, p := range packages(t) {
		allowed, known := arrows[p.ImportPath]
		require.True(t, known, "package %s has no place in the architecture", p.ImportPath)
		for _, dep := range p.Imports {
			if ours(dep) {
				require.Contains(t, allowed, dep, "%s must not import %s", p.ImportPath, dep)
			}
		}
	}
}

func TestEveryPackageTeachesItsWords(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != "goldstream" {
			require.NotEmpty(t, p.Doc, "package %s has no package comment", p.ImportPath)
		}
	}
}

func TestNoDrawers(t *testing.T) {
	for _, p := range packages(t) {
		for _, bad := range []string{"util", "utils", "common", "helpers", "misc"} {
			require.False(t, slices.Contains(strings.Split(p.ImportPath, "/"), bad), "%s says nothing", p.ImportPath)
		}
	}
}

func TestChosenModules(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}}{{end}}", "all").Output()
	require.NoError(t, err)
	for _, module := range strings.Fields(string(out)) {
		require.Contains(t, chosen, module, "a new module: decide, then add it here")
	}
}

// TestNoInit keeps work out of package initialisation.
func TestNoInit(t *testing.T) {
	out, err := exec.Command("git", "grep", "-nE", `^func init\(\)`, "--", "*.go").CombinedOutput()
	require.Empty(t, string(out), "init functions")
	require.Error(t, err, "git grep finds nothing")
}
