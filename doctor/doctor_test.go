package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// facts is a host that a test makes up.
type facts struct {
	root                     bool
	files                    map[string]string
	access                   map[string]error
	programs                 []string
	fileSystem               string
	noFS, noSparse, noUserns error
	descriptors              uint64
	noLandlock               error
	noDescriptors            error
}

func (f *facts) Root() bool { return f.root }

func (f *facts) ReadFile(path string) (string, error) {
	s, ok := f.files[path]
	if !ok {
		return "", fs.ErrNotExist
	}
	return s, nil
}

func (f *facts) Access(path string) error { return f.access[path] }

func (f *facts) Program(name string) (string, error) {
	for _, p := range f.programs {
		if p == name {
			return "/usr/bin/" + name, nil
		}
	}
	return "", fs.ErrNotExist
}

func (f *facts) FileSystem(string) (string, error)   { return f.fileSystem, f.noFS }
func (f *facts) TrySparse(string) error              { return f.noSparse }
func (f *facts) TryNamespaces(context.Context) error { return f.noUserns }
func (f *facts) Landlock() (int, error)              { return 7, f.noLandlock }
func (f *facts) Descriptors() (uint64, error)        { return f.descriptors, f.noDescriptors }

// good is a host that lacks nothing.
func good() *facts {
	return &facts{
		root: true, fileSystem: "xfs", descriptors: 1 << 20,
		programs: []string{"fusermount3", "qemu-nbd", "qemu-img", "linux.uml"},
		access:   map[string]error{},
		files: map[string]string{
			"/sys/fs/cgroup/cgroup.controllers":  "cpu io memory pids\n",
			"/proc/sys/kernel/yama/ptrace_scope": "1\n",
			"/etc/fuse.conf":                     "# comment\n#user_allow_other\n",
		},
	}
}

func TestAGoodHostLacksNothing(t *testing.T) {
	list := Examine(t.Context(), good(), "/data")
	require.Len(t, list, 12)
	seen := map[string]bool{}
	for _, f := range list {
		require.Equal(t, Fine, f.State, "%+v", f)
		require.NotEmpty(t, f.Found)
		require.Empty(t, f.Cure)
		require.False(t, seen[f.Check], f.Check)
		seen[f.Check] = true
	}
	require.Zero(t, Lacking(list))
}

// TestEachLackIsToldWithItsCure changes one fact at a time: one check tells, and no
// other.
func TestEachLackIsToldWithItsCure(t *testing.T) {
	user := func(f *facts) { f.root = false; f.files["/etc/fuse.conf"] = "user_allow_other\n" }
	for name, c := range map[string]struct {
		change             func(*facts)
		check, state, cure string
	}{
		"no device":         {func(f *facts) { f.access["/dev/fuse"] = fs.ErrNotExist }, "FUSE device", Missing, "modprobe fuse"},
		"closed device":     {func(f *facts) { f.access["/dev/fuse"] = fs.ErrPermission }, "FUSE device", Missing, "chmod 666"},
		"no fusermount":     {func(f *facts) { f.programs = f.programs[1:] }, "fusermount3", Warning, "fuse3"},
		"user, fusermount":  {func(f *facts) { user(f); f.programs = f.programs[1:] }, "fusermount3", Missing, "fuse3"},
		"user, allow_other": {func(f *facts) { user(f); f.files["/etc/fuse.conf"] = "#user_allow_other\n" }, "FUSE allow_other", Missing, "user_allow_other"},
		"no fuse.conf":      {func(f *facts) { f.root = false; delete(f.files, "/etc/fuse.conf") }, "FUSE allow_other", Missing, "user_allow_other"},
		"no qemu-img":       {func(f *facts) { f.programs = []string{"fusermount3", "qemu-nbd", "linux.uml"} }, "qemu-nbd", Missing, "qemu-utils"},
		"no kernel":         {func(f *facts) { f.programs = f.programs[:3] }, "User-Mode-Linux", Missing, "user-mode-linux"},
		"ptrace 2":          {func(f *facts) { f.files["/proc/sys/kernel/yama/ptrace_scope"] = "2" }, "ptrace", Missing, "sysctl"},
		"ptrace 3":          {func(f *facts) { f.files["/proc/sys/kernel/yama/ptrace_scope"] = "3\n" }, "ptrace", Missing, "reboot"},
		"no Landlock":       {func(f *facts) { f.noLandlock = fs.ErrInvalid }, "Landlock", Warning, "lsm=landlock"},
		"no pids":           {func(f *facts) { f.files["/sys/fs/cgroup/cgroup.controllers"] = "memory" }, "cgroups", Warning, "cgroup v2"},
		"cgroup v1": {func(f *facts) {
			f.files["/sys/fs/cgroup/cgroup.controllers"] = "hugetlb"
			f.files["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "1"
		}, "cgroups", Warning, "unified"},
		"no namespaces": {func(f *facts) { f.noUserns = fs.ErrPermission }, "namespaces", Missing, "container"},
		"AppArmor": {func(f *facts) {
			f.noUserns = fs.ErrPermission
			f.files["/proc/sys/kernel/apparmor_restrict_unprivileged_userns"] = "1\n"
		}, "namespaces", Missing, "apparmor_restrict_unprivileged_userns=0"},
		"none allowed": {func(f *facts) {
			f.noUserns = fs.ErrPermission
			f.files["/proc/sys/user/max_user_namespaces"] = "0\n"
		}, "namespaces", Missing, "max_user_namespaces=15000"},
		"tmpfs":           {func(f *facts) { f.fileSystem = "tmpfs" }, "file system of the data", Warning, "--data"},
		"nfs":             {func(f *facts) { f.fileSystem = "nfs" }, "file system of the data", Warning, "ext4"},
		"no data":         {func(f *facts) { f.noFS = fs.ErrPermission }, "file system of the data", Missing, "/data"},
		"no sparse files": {func(f *facts) { f.noSparse = errors.New("file too large") }, "sparse files", Missing, "ext4"},
		"few files":       {func(f *facts) { f.descriptors = 1024 }, "open files", Warning, "LimitNOFILE"},
		"unknown files":   {func(f *facts) { f.noDescriptors = fs.ErrPermission }, "open files", Warning, "LimitNOFILE"},
	} {
		f := good()
		c.change(f)
		lacking := 0
		for _, finding := range Examine(t.Context(), f, "/data") {
			if finding.Check != c.check {
				require.Equal(t, Fine, finding.State, "%s: %+v", name, finding)
				continue
			}
			require.Equal(t, c.state, finding.State, name)
			require.Contains(t, finding.Cure, c.cure, name)
			require.NotEmpty(t, finding.For, name)
			require.NotEmpty(t, finding.Found, name)
			lacking++
		}
		require.Equal(t, 1, lacking, name)
	}
}

// TestThisHost leaves nothing behind, whatever the host has.
func TestThisHost(t *testing.T) {
	dir := t.TempDir()
	h := ThisHost{}
	list := Examine(t.Context(), h, filepath.Join(dir, "not", "there"))
	require.Len(t, list, 12)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NoError(t, h.TrySparse(dir))
	require.Error(t, h.TrySparse("/proc"))
	_ = h.TryNamespaces(t.Context())
	after, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.Equal(t, strings.Count(string(mounts), " - tmpfs none "), strings.Count(string(after), " - tmpfs none "))
	kind, err := h.FileSystem("/proc")
	require.NoError(t, err)
	require.Contains(t, kind, "0x9fa0")
	_, err = h.Program("sh")
	require.NoError(t, err)
	_, err = h.Program("no-such-program")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, h.Access(filepath.Join(dir, "none")), fs.ErrNotExist)
}
