package runner

import (
	"bytes"
	"context"
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
var shared = filepath.Join(os.TempDir(), fmt.Sprintf("goldstream-runner-test-%d", os.Getpid()))

// tools builds the guest and makes the tool root.
var tools = sync.OnceValues(func() (sandbox.Tools, error) {
	o := sandbox.Options{Dir: filepath.Join(shared, "tools"), Guest: filepath.Join(shared, "goldstream-guest")}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", o.Guest, "goldstream/cmd/goldstream-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return sandbox.Tools{}, fmt.Errorf("%w: %s", err, out)
	}
	return sandbox.Prepare(context.Background(), o)
})

var scriptTools = sync.OnceValues(sandbox.FindScriptTools)

// boot starts a disk cell that is killed with the test.
func boot(t testing.TB, disk string) *sandbox.Cell {
	t.Helper()
	tl, err := tools()
	require.NoError(t, err)
	c, err := sandbox.Start(t.Context(), sandbox.Config{Tools: tl, Disk: disk})
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Log(c.Console())
		}
	})
	return c
}

// startLocal is Options.Local with the real thing.
func startLocal(ctx context.Context) (Local, error) {
	tl, err := tools()
	if err != nil {
		return nil, err
	}
	st, err := scriptTools()
	if err != nil {
		return nil, err
	}
	return sandbox.StartScript(ctx, sandbox.ScriptConfig{Tools: st, Guest: tl.Guest})
}

// journalText collects a log as text.
type journalText struct {
	bytes.Buffer
	output bytes.Buffer // what scripts printed
}

func (j *journalText) hear(l Line) {
	fmt.Fprintf(j, "%s: %s\n", l.Kind, l.Text)
	if l.Kind == Output {
		j.output.WriteString(l.Text + "\n")
	}
}

// compile makes a plan of scripts.
func compile(t testing.TB, in attribute.Inputs, scripts ...string) *personalize.Plan {
	t.Helper()
	var steps []personalize.Step
	for i, text := range scripts {
		steps = append(steps, personalize.Step{Name: fmt.Sprintf("script-%d", i+1), Script: personalize.PlanScript{Type: personalize.General, Content: text}})
	}
	plan, err := personalize.Compile(steps, in)
	require.NoError(t, err)
	return plan
}

// play runs scripts without attributes on a disk and returns what they printed.
func play(t testing.TB, disk Disk, scripts ...string) (string, error) {
	t.Helper()
	var j journalText
	err := Run(patience(t), disk, compile(t, attribute.Inputs{}, scripts...), Options{Local: startLocal, Log: j.hear})
	if err != nil {
		t.Log(j.String())
	}
	return j.output.String(), err
}

// patience is for what must happen, on a machine with anything else to do.
func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "MTOOLS_SKIP_CHECK=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// tree makes a directory of files; a name that ends with / is an empty directory.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		full := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			require.NoError(t, os.MkdirAll(full, 0o755))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(t, os.WriteFile(full, []byte(text), 0o644))
	}
	return dir
}

// makeDisk makes a GPT disk of partitions with a file system each, in MiB.
func makeDisk(t testing.TB, parts ...partition) string {
	t.Helper()
	table, at := "label: gpt\n", 1
	for _, p := range parts {
		table += fmt.Sprintf("start=%dMiB, size=%dMiB\n", at, p.mib)
		at += p.mib
	}
	disk := filepath.Join(t.TempDir(), "disk")
	tool(t, "truncate", "-s", fmt.Sprintf("%dM", at+1), disk)
	cmd := exec.Command("sfdisk", "-q", disk)
	cmd.Stdin = strings.NewReader(table)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	at = 1
	for _, p := range parts {
		if p.kind != "" {
			tool(t, "dd", "if="+p.image(t), "of="+disk, "bs=1M", fmt.Sprintf("seek=%d", at), "conv=sparse,notrunc", "status=none")
		}
		at += p.mib
	}
	return disk
}

// partition is one of a test's disk.
type partition struct {
	mib        int
	kind, from string // file system, and the directory that it holds
}

func (p partition) image(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "part")
	tool(t, "truncate", "-s", fmt.Sprintf("%dM", p.mib), file)
	switch p.kind {
	case "vfat":
		tool(t, "mkfs.vfat", "-n", "EFI", file)
		if p.from != "" {
			tool(t, "sh", "-c", `mcopy -s -i "$1" "$2"/* ::/`, "-", file, p.from)
		}
	case "ext4":
		tool(t, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "root", "-U", "6e4f9f3a-1111-4222-8333-444455556666", "-d", p.from, file)
	case "xfs":
		tool(t, "mkfs.xfs", "-q", "-L", "data", file)
	}
	return file
}

// volumeDisk makes a disk whose third partition is the volume group rhel, with an
// ext4 of a tree in its volume root.
func volumeDisk(t testing.TB, efi partition, root string) string {
	t.Helper()
	disk := makeDisk(t, efi, partition{16, "", ""}, partition{128, "", ""})
	c := boot(t, disk)
	ctx := patience(t)
	for _, args := range [][]string{
		{"pvcreate", "-q", "/dev/sda3"}, {"vgcreate", "-q", "rhel", "/dev/sda3"}, {"lvcreate", "-q", "-Zn", "-Wn", "-l", "100%FREE", "-n", "root", "rhel"},
	} {
		_, err := c.LVM(ctx, args...)
		require.NoError(t, err)
	}
	require.NoError(t, c.Close(ctx))
	// Its first extent lies behind 1 MiB of metadata.
	image := partition{120, "ext4", root}.image(t)
	tool(t, "dd", "if="+image, "of="+disk, "bs=1M", fmt.Sprintf("seek=%d", 1+efi.mib+16+1), "conv=sparse,notrunc", "status=none")
	return disk
}
