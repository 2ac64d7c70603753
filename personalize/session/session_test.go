package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"goldstream/jail"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
	"goldstream/personalize/sandbox"
	"goldstream/personalize/step"
)

func TestMain(m *testing.M) {
	jail.MaybeInit()
	code := m.Run()
	_ = os.RemoveAll(shared)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// shared is where the tests' one tool root is.
var shared = filepath.Join(os.TempDir(), fmt.Sprintf("goldstream-session-test-%d", os.Getpid()))

var tools = sync.OnceValues(func() (sandbox.Tools, error) {
	o := sandbox.Options{Dir: filepath.Join(shared, "tools"), Guest: filepath.Join(shared, "goldstream-guest")}
	build := exec.Command("go", "build", "-o", o.Guest, "goldstream/cmd/goldstream-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return sandbox.Tools{}, fmt.Errorf("%w: %s", err, out)
	}
	return sandbox.Prepare(context.Background(), o)
})

// session runs steps on a disk and returns what was logged.
func session(t *testing.T, disk string, steps ...personalize.Step) (string, error) {
	t.Helper()
	tl, err := tools()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cell, err := sandbox.Start(ctx, sandbox.Config{Tools: tl, Disk: disk})
	require.NoError(t, err)
	defer func() { cell.Kill(); _ = cell.Wait() }()
	plan, err := personalize.Compile(steps, attribute.Inputs{})
	require.NoError(t, err)
	var log strings.Builder
	err = Run(ctx, cell, plan, Options{Logf: func(format string, args ...any) { fmt.Fprintf(&log, format+"\n", args...) }})
	return log.String(), err
}

// ext4 makes a file system with an os-release and a machine ID.
func ext4(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(tree, "etc"), 0o755))
	for name, text := range map[string]string{"os-release": "ID=debian\n", "machine-id": strings.Repeat("0", 32) + "\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(tree, "etc", name), []byte(text), 0o644))
	}
	return made(t, "mke2fs", "-q", "-t", "ext4", "-d", tree)
}

// made has a program make a disk of 16 MiB.
func made(t *testing.T, name string, args ...string) string {
	t.Helper()
	disk := blank(t, 16<<20)
	out, err := exec.Command(name, append(args, disk)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return disk
}

func blank(t *testing.T, size int64) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(disk, nil, 0o666))
	require.NoError(t, os.Truncate(disk, size))
	require.NoError(t, os.Chmod(disk, 0o666))
	return disk
}

func file(path string) personalize.Step {
	return personalize.Step{Name: "file " + path, Native: &step.Step{File: &step.File{Path: path, Content: "x"}}}
}

// TestGeneralizedIfThereIsASystem: a disk without a system is none of its business,
// but one whose system was not seen, or that has two, is not passed over.
func TestGeneralizedIfThereIsASystem(t *testing.T) {
	first := personalize.Generalized(nil)
	log, err := session(t, blank(t, 1<<20), first...)
	require.NoError(t, err)
	require.Contains(t, log, "generalize did nothing: ")
	require.Contains(t, log, "no file system has an os-release file")

	system := ext4(t)
	log, err = session(t, system, first...)
	require.NoError(t, err)
	require.Contains(t, log, "/etc/machine-id")

	encrypted := blank(t, 16<<20)
	f, err := os.OpenFile(encrypted, os.O_WRONLY, 0)
	require.NoError(t, err)
	header := make([]byte, 4096)
	copy(header, "LUKS\xba\xbe\x00\x01")
	_, err = f.WriteAt(header, 0)
	require.NoError(t, errors.Join(err, f.Close()))
	for name, disk := range map[string]string{"encrypted": encrypted, "two": twice(t, system)} {
		log, err = session(t, disk, first...)
		require.ErrorContains(t, err, "--as-is", "%s: %s", name, log)
		require.NotContains(t, log, "did nothing", name)
	}
}

// twice is a disk with two partitions of the same content.
func twice(t *testing.T, content string) string {
	t.Helper()
	disk := blank(t, 34<<20)
	table := exec.Command("sfdisk", "-q", disk)
	table.Stdin = strings.NewReader("label: gpt\nstart=1MiB, size=16MiB\nstart=17MiB, size=16MiB\n")
	out, err := table.CombinedOutput()
	require.NoError(t, err, "%s", out)
	b, err := os.ReadFile(content)
	require.NoError(t, err)
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(b, 1<<20)
	_, again := f.WriteAt(b, 17<<20)
	require.NoError(t, errors.Join(err, again, f.Close()))
	return disk
}

// TestSteps runs native steps and scripts by turns: each finds what it needs mounted,
// and the first that fails is named and ends the session.
func TestSteps(t *testing.T) {
	script := func(text string) personalize.Step {
		return personalize.Step{Name: "script", Script: personalize.PlanScript{Type: personalize.Deploy, Content: text}}
	}
	log, err := session(t, ext4(t),
		file("/etc/one"),
		script("mount /dev/sda /\ncat /etc/one\nwrite /etc/two y\n"),
		file("/etc/three"), // on what the script has mounted
		script("cat /etc/three\n"))
	require.NoError(t, err)
	require.Contains(t, log, "the root file system is on /dev/sda")
	require.Equal(t, 2, strings.Count(log, "\n  x\n"), log)

	log, err = session(t, ext4(t), file("/etc/one"), file("/etc/one/two"), file("/etc/three"))
	var failed *StepError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, 2, failed.Number)
	require.Equal(t, 3, failed.Of)
	require.NotContains(t, log, "/etc/three")
}
