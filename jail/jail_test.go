package jail

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestRunsAProgram(t *testing.T) {
	r := runSpec(t, helperSpec(t, "hello", "a", "b"))
	require.NoError(t, r.err)
	assert.Equal(t, "hello a b pid 1 uid 0", r.out)
}

func TestExitStatus(t *testing.T) {
	r := runSpec(t, helperSpec(t, "exit", "7"))
	var exit *exec.ExitError
	require.ErrorAs(t, r.err, &exit)
	assert.Equal(t, 7, exit.ExitCode())
}

func TestDynamicProgram(t *testing.T) {
	binds, err := Executables("/usr/bin/qemu-img", "/usr/bin/qemu-nbd")
	require.NoError(t, err)
	r := runSpec(t, Spec{Path: "/usr/bin/qemu-img", Args: []string{"--version"}, Binds: binds, Profile: ImageTool()})
	require.NoError(t, r.err, r.out)
	assert.Contains(t, r.out, "qemu-img version")
}

// TestCPULimit: a program that spins is ended, pid 1 or not.
func TestCPULimit(t *testing.T) {
	s := helperSpec(t, "spin")
	s.Limits.CPU = 1
	var exit *exec.ExitError
	require.ErrorAs(t, runSpec(t, s).err, &exit)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.Equal(t, syscall.SIGKILL, status.Signal())
}

func TestHostFilesAreAbsent(t *testing.T) {
	both(t, func(t *testing.T, profile Profile) {
		s := helperSpec(t, "read", "/etc/shadow", "/etc/passwd", "/proc/1/environ", "/proc/self/exe", "/dev/mem", "/dev/kmsg", "../../etc/passwd")
		s.Profile = profile
		r := runSpec(t, s)
		require.NoError(t, r.err)
		for line := range strings.Lines(r.out) {
			assert.Contains(t, line, "no such file")
		}
	})
}

func TestRootHoldsOnlyWhatWasAsked(t *testing.T) {
	s := helperSpec(t, "list", "/", "/dev", "/one")
	file := tempFile(t, "f", "text", 0o644)
	s.Binds = append(s.Binds, Bind{Host: file, Target: "/one/file"})
	r := runSpec(t, s)
	require.NoError(t, r.err)
	lines := strings.Split(r.out, "\n")
	want := map[string]bool{"/:": true, "dev": true, "<nil>": true}
	for _, b := range s.Binds {
		want[strings.Split(b.Target, "/")[1]] = true
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(want)), strings.Fields(lines[0]))
	assert.Equal(t, "/dev: full null random urandom zero <nil>", lines[1])
	assert.Equal(t, "/one: file <nil>", lines[2])
}

func TestLinks(t *testing.T) {
	s := helperSpec(t, "read", "/dir/one", "/out")
	file := tempFile(t, "f", "text", 0o644)
	s.Binds = append(s.Binds, Bind{Host: file, Target: "/file"})
	s.Links = []Link{{"/dir/one", "/file"}, {"/out", "/../.." + file}}
	r := runSpec(t, s)
	require.NoError(t, r.err)
	lines := strings.Split(r.out, "\n")
	assert.Equal(t, "/dir/one: 4 bytes, <nil>", lines[0])
	assert.Contains(t, lines[1], "no such file")
}

func TestWritesOnlyWhereAllowed(t *testing.T) {
	both(t, func(t *testing.T, profile Profile) {
		readable := tempFile(t, "r", "text", 0o666)
		writable := tempFile(t, "w", "text", 0o666)
		s := helperSpec(t, "write", "/r", "/w", "/new", "/mem/new", "/dev/null", "/dev/new")
		s.Profile = profile
		s.Binds = append(s.Binds, Bind{Host: readable, Target: "/r"}, Bind{Host: writable, Target: "/w", Writable: true})
		s.Tmpfs = []Tmpfs{{Target: "/mem", Size: 1 << 20}}
		r := runSpec(t, s)
		require.NoError(t, r.err)
		lines := strings.Split(r.out, "\n")
		require.Len(t, lines, 6, r.out)
		assert.Equal(t, []bool{false, true, false, true, true, false}, succeeded(lines), r.out)
		text, err := os.ReadFile(readable)
		require.NoError(t, err)
		assert.Equal(t, "text", string(text))
		text, err = os.ReadFile(writable)
		require.NoError(t, err)
		assert.Equal(t, "overwritten", string(text))
	})
}

func succeeded(lines []string) (list []bool) {
	for _, l := range lines {
		list = append(list, strings.HasSuffix(l, "<nil>"))
	}
	return list
}

func TestOwnersFileIsReadableOnlyAsOwner(t *testing.T) {
	if !privileged() {
		return // the jail is the owner then
	}
	file := tempFile(t, "secret", "for the owner", 0o600)
	s := helperSpec(t, "read", "/f")
	s.Binds = append(s.Binds, Bind{Host: file, Target: "/f"})
	assert.Contains(t, runSpec(t, s).out, "permission denied")
	s.Binds[len(s.Binds)-1].AsOwner = true
	assert.Equal(t, "/f: 13 bytes, <nil>", runSpec(t, s).out)
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, uint32(os.Getuid()), info.Sys().(*syscall.Stat_t).Uid)
}

// A file that others may read but not write is the owner's to write.
func TestOwnersFileIsWritableAsOwner(t *testing.T) {
	file := tempFile(t, "disk", "golden", 0o644)
	s := helperSpec(t, "write", "/f")
	s.Binds = append(s.Binds, Bind{Host: file, Target: "/f", Writable: true, AsOwner: true})
	assert.Equal(t, "/f: <nil>", runSpec(t, s).out)
}

// TestServedBinds: a file that the stage looks up by itself is bound as any other, and
// no link leads it elsewhere.
func TestServedBinds(t *testing.T) {
	mount := t.TempDir()
	require.NoError(t, os.Chmod(mount, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(mount, "dir"), 0o755))
	for _, name := range []string{"dir/r", "w", "other"} {
		file := filepath.Join(mount, name)
		require.NoError(t, os.WriteFile(file, []byte("text"), 0o600))
		require.NoError(t, os.Chmod(file, 0o666))
	}
	s := helperSpec(t, "write", "/r", "/w", "/other")
	s.Binds = append(s.Binds, Bind{Mount: mount, Host: filepath.Join(mount, "dir/r"), Target: "/r"},
		Bind{Mount: mount, Host: filepath.Join(mount, "w"), Target: "/w", Writable: true})
	r := runSpec(t, s)
	require.NoError(t, r.err)
	require.Equal(t, []bool{false, true, false}, succeeded(strings.Split(r.out, "\n")), r.out)
	text, err := os.ReadFile(filepath.Join(mount, "w"))
	require.NoError(t, err)
	require.Equal(t, "overwritten", string(text))

	s = helperSpec(t, "list", "/", "/x")
	s.Binds = append(s.Binds, Bind{Mount: mount, Host: filepath.Join(mount, "dir/r"), Target: "/x/r"})
	r = runSpec(t, s)
	require.NoError(t, r.err)
	require.NotContains(t, r.out, "served")
	require.Contains(t, r.out, "/x: r <nil>")

	require.NoError(t, os.Symlink("other", filepath.Join(mount, "link")))
	for host, says := range map[string]string{
		filepath.Join(mount, "none"): "no such file",
		mount:                        "below mount",
		"/etc/passwd":                "below mount",
		filepath.Join(mount, "link"): "",
	} {
		s := helperSpec(t, "hello")
		s.Binds = append(s.Binds, Bind{Mount: mount, Host: host, Target: "/x"})
		p, err := Start(t.Context(), s)
		if err == nil {
			require.False(t, privileged(), host)
			require.Empty(t, says, host) // without privileges a link is followed, as in every path
			require.NoError(t, p.Wait())
			continue
		}
		require.ErrorIs(t, err, ErrSetup, host)
		require.ErrorContains(t, err, says, host)
	}
}

// The bind shows the file that was opened, or nothing; never what its path
// names later.
func TestBindFollowsTheOpenFile(t *testing.T) {
	file := tempFile(t, "image", "checked", 0o644)
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, os.Rename(file, file+".old"))
	require.NoError(t, os.WriteFile(file, []byte("swapped afterwards"), 0o644))
	s := helperSpec(t, "read", "/f")
	s.Binds = append(s.Binds, Bind{File: f, Target: "/f"})
	assert.Equal(t, "/f: 7 bytes, <nil>", runSpec(t, s).out)
}

func TestNetworkIsUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	abstract, err := net.Listen("unix", "@goldstream-jail-test-"+strconv.Itoa(os.Getpid()))
	require.NoError(t, err)
	defer abstract.Close()
	both(t, func(t *testing.T, profile Profile) {
		for _, l := range []net.Listener{listener, abstract} {
			s := helperSpec(t, "connect", l.Addr().Network(), l.Addr().String())
			s.Profile = profile
			r := runSpec(t, s)
			require.NoError(t, r.err)
			assert.NotEqual(t, "<nil>", r.out)
			assert.NotEmpty(t, r.out)
		}
	})
}

func TestPrivilegedCallsFail(t *testing.T) {
	both(t, func(t *testing.T, profile Profile) {
		s := helperSpec(t, "syscalls")
		s.Profile = profile
		r := runSpec(t, s)
		require.NoError(t, r.err, r.out)
		n := 0
		for line := range strings.Lines(r.out) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "filter ") && profile.unfiltered {
				continue
			}
			n++
			assert.NotRegexp(t, `: (errno 0|<nil>)$`, line)
			if strings.HasPrefix(line, "filter ") {
				assert.Contains(t, line, "operation not permitted")
			}
		}
		assert.GreaterOrEqual(t, n, 14)
	})
}

// TestNobodySyncsTheHost: sync(2) reaches all file systems, those of others too.
func TestNobodySyncsTheHost(t *testing.T) {
	for _, profile := range []Profile{ImageTool(), Script(), UserModeLinux(true)} {
		assert.NotContains(t, profile.Calls, "sync")
		assert.Contains(t, profile.Calls, "fsync")
	}
}

func TestFilteredCloneMakesNoNamespace(t *testing.T) {
	r := runSpec(t, helperSpec(t, "clone"))
	require.NoError(t, r.err)
	assert.Equal(t, 4, strings.Count(r.out, "operation not permitted"), r.out)
}

func TestKillProfileEndsTheProgram(t *testing.T) {
	s := helperSpec(t, "syscalls")
	s.Profile.Kill = true
	r := runSpec(t, s)
	var exit *exec.ExitError
	require.ErrorAs(t, r.err, &exit)
	assert.Equal(t, syscall.SIGSYS, exit.Sys().(syscall.WaitStatus).Signal())
}

func TestProcessStatus(t *testing.T) {
	s := helperSpec(t, "status")
	s.Proc = true
	r := runSpec(t, s)
	require.NoError(t, r.err)
	for _, line := range []string{
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
		"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Pid:\t1\n",
	} {
		assert.Contains(t, r.out, line)
	}
	assert.Equal(t, "process 1", r.out[strings.Index(r.out, "process 1"):], "sees only itself")
	if privileged() {
		assert.Regexp(t, `(?m)^Groups:\s*$`, r.out)
	}
}

func TestHostIdentity(t *testing.T) {
	p, err := Start(t.Context(), helperSpec(t, "sleep"))
	require.NoError(t, err)
	defer func() { p.Kill(); _ = p.Wait() }()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	require.NoError(t, err)
	oom, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.PID()))
	require.NoError(t, err)
	assert.Equal(t, "800\n", string(oom))
	uid := strconv.Itoa(os.Getuid())
	if privileged() {
		uid = strconv.Itoa(DefaultHostID)
		assert.Empty(t, p.Missing())
	} else {
		assert.NotEmpty(t, p.Missing())
	}
	assert.Contains(t, string(status), "Uid:\t"+strings.Repeat(uid+"\t", 3)+uid)
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.PID(), ns))
		if !privileged() {
			break // not readable: the program is not dumpable for us
		}
		require.NoError(t, err)
		ours, err := os.Readlink("/proc/self/ns/" + ns)
		require.NoError(t, err)
		assert.NotEqual(t, ours, theirs, ns)
	}
}

func TestSignalsReachNobodyOutside(t *testing.T) {
	both(t, func(t *testing.T, profile Profile) {
		s := helperSpec(t, "kill")
		s.Profile = profile
		r := runSpec(t, s)
		assert.NotContains(t, r.out, "reached")
		assert.Contains(t, r.out, "done")
	})
}

func TestLimits(t *testing.T) {
	s := helperSpec(t, "limits")
	s.Limits = Limits{Files: 77, FileSize: 1 << 20, Processes: 40}
	r := runSpec(t, s)
	require.NoError(t, r.err)
	assert.Equal(t, fmt.Sprintf("%d: 0 0\n%d: 77 77\n%d: 1048576 1048576\n%d: 40 40",
		unix.RLIMIT_CORE, unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE, unix.RLIMIT_NPROC), r.out)
}

func TestForkBombIsBounded(t *testing.T) {
	both(t, func(t *testing.T, profile Profile) {
		s := helperSpec(t, "forks")
		s.Profile = profile
		s.Limits.Processes = 40
		r := runSpec(t, s)
		n, err := strconv.Atoi(strings.Split(r.out, "\n")[0])
		if err != nil { // Go's runtime may die of the thread it did not get
			assert.Contains(t, r.out, "failed to create new OS thread")
			return
		}
		assert.Less(t, n, 40)
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Run("cgroup", func(t *testing.T) {
		if !privileged() {
			return
		}
		s := helperSpec(t, "memory", strconv.Itoa(1<<30))
		s.Limits.Memory = 64 << 20
		r := runSpec(t, s)
		require.ErrorContains(t, r.err, "out of memory")
		assert.NotContains(t, r.out, "used it all")
	})
	t.Run("data", func(t *testing.T) {
		s := helperSpec(t, "memory", strconv.Itoa(1<<30))
		s.Limits.Data = 512 << 20
		r := runSpec(t, s)
		require.NoError(t, r.err)
		assert.Contains(t, r.out, "cannot allocate memory")
	})
}

func TestTmpfsIsBounded(t *testing.T) {
	s := helperSpec(t, "fill", "/mem/f")
	s.Tmpfs = []Tmpfs{{Target: "/mem", Size: 4 << 20}}
	r := runSpec(t, s)
	require.NoError(t, r.err)
	assert.Regexp(t, `^4194304 .*no space left`, r.out)
}

func TestNoCoreDump(t *testing.T) {
	s := helperSpec(t, "abort")
	s.Env = append(s.Env, "GOTRACEBACK=crash")
	dir := openDir(t)
	require.NoError(t, os.Chmod(dir, 0o777))
	s.Binds = append(s.Binds, Bind{Host: dir, Target: "/mem", Writable: true})
	r := runSpec(t, s)
	require.Error(t, r.err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestOnlyTheFilesGivenAreOpen(t *testing.T) {
	// A file that leaks: not close-on-exec.
	fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	s := helperSpec(t, "fds")
	assert.Equal(t, "0 1 2", runSpec(t, s).out)

	f, err := os.Open(tempFile(t, "f", "x", 0o644))
	require.NoError(t, err)
	defer f.Close()
	s.Files = []*os.File{f, f}
	assert.Equal(t, "0 1 2 3 4", runSpec(t, s).out)
}

func TestFilesArePassed(t *testing.T) {
	in, err := os.Open(tempFile(t, "in", "through the jail", 0o644))
	require.NoError(t, err)
	defer in.Close()
	out, err := os.Create(filepath.Join(openDir(t), "out"))
	require.NoError(t, err)
	defer out.Close()
	s := helperSpec(t, "pass")
	s.Files = []*os.File{in, out}
	require.NoError(t, runSpec(t, s).err)
	text, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	assert.Equal(t, "through the jail", string(text))
}

func TestCancelKills(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := Start(ctx, helperSpec(t, "sleep"))
	require.NoError(t, err)
	pid := p.PID()
	cancel()
	require.ErrorIs(t, p.Wait(), context.Canceled)
	assert.Equal(t, unix.ESRCH, unix.Kill(pid, 0))
	assertNoGroups(t)
}

func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // more than any set-up takes
	defer cancel()
	p, err := Start(ctx, helperSpec(t, "sleep"))
	require.NoError(t, err)
	require.ErrorIs(t, p.Wait(), context.DeadlineExceeded)
}

func TestKill(t *testing.T) {
	p, err := Start(t.Context(), helperSpec(t, "sleep"))
	require.NoError(t, err)
	p.Kill()
	require.ErrorContains(t, p.Wait(), "killed")
	p.Kill() // harmless
}

// The whole jail dies with the process that started it, even by SIGKILL.
func TestParentDeathKillsTheJail(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperVariable+"=parent")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err, line)
	require.NoError(t, unix.Kill(pid, 0))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	// An orphan is reaped by whoever is init here; a zombie is dead enough.
	require.Eventually(t, func() bool { return dead(pid) }, 5*time.Second, 10*time.Millisecond)
	removeGroups(t, cmd.Process.Pid)
}

func dead(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func assertNoGroups(t testing.TB) {
	t.Helper()
	assert.Empty(t, jailGroups(t, os.Getpid()))
}

// jailGroups lists the groups that a process has made.
func jailGroups(t testing.TB, owner int) (found []string) {
	t.Helper()
	for _, controller := range []string{"memory", "pids"} {
		own, err := ownGroup(controller)
		if err != nil {
			continue
		}
		match, err := filepath.Glob(filepath.Join(cgroupRoot, controller, own, fmt.Sprintf("%s%d-*", groupPrefix, owner)))
		require.NoError(t, err)
		found = append(found, match...)
	}
	return found
}

// removeGroups cleans what a killed parent could not.
func removeGroups(t testing.TB, owner int) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, dir := range jailGroups(t, owner) {
			if os.Remove(dir) != nil {
				return false
			}
		}
		return true
	}, 5*time.Second, 20*time.Millisecond)
}

func TestErrorsSayWhatIsMissing(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Spec)
		want   string
	}{
		"program":    {func(s *Spec) { s.Path = "/none" }, "not among the binds"},
		"relative":   {func(s *Spec) { s.Path = "none" }, "absolute"},
		"dotdot":     {func(s *Spec) { s.Binds[0].Target = "/a/../b" }, "clean absolute path"},
		"profile":    {func(s *Spec) { s.Profile = Profile{} }, "seccomp"},
		"host file":  {func(s *Spec) { s.Binds = append(s.Binds, Bind{Host: "/no/such", Target: "/x"}) }, "/no/such"},
		"no file":    {func(s *Spec) { s.Binds = append(s.Binds, Bind{Target: "/x"}) }, "no host file"},
		"tmpfs size": {func(s *Spec) { s.Tmpfs = []Tmpfs{{Target: "/x"}} }, "size limit"},
		"overlap":    {func(s *Spec) { s.Tmpfs = []Tmpfs{{Target: s.Path + "/x", Size: 1}} }, "overlap"},
		"in a link":  {func(s *Spec) { s.Links = []Link{{"/a", "b"}}; s.Tmpfs = []Tmpfs{{Target: "/a/x", Size: 1}} }, "overlap"},
		"no target":  {func(s *Spec) { s.Links = []Link{{"/a", ""}} }, "leads nowhere"},
		"directory":  {func(s *Spec) { s.Dir = "/none" }, "chdir /none"},
		"timeout":    {func(s *Spec) { s.SetupTimeout = time.Nanosecond }, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			s := helperSpec(t, "hello")
			test.change(&s)
			_, err := Start(t.Context(), s)
			require.ErrorIs(t, err, ErrSetup)
			require.ErrorContains(t, err, test.want)
			assertNoGroups(t)
		})
	}
}

func TestStartWithCancelledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Start(ctx, helperSpec(t, "hello"))
	require.ErrorIs(t, err, context.Canceled)
}

func TestManyAtOnce(t *testing.T) {
	errs := make(chan error, 16)
	for range cap(errs) {
		go func() {
			p, err := Start(t.Context(), helperSpec(t, "hello"))
			if err == nil {
				err = p.Wait()
			}
			errs <- err
		}()
	}
	var all error
	for range cap(errs) {
		all = errors.Join(all, <-errs)
	}
	require.NoError(t, all)
	assertNoGroups(t)
}

// The same attacks, started by a user without any privilege.
func TestUnprivileged(t *testing.T) {
	if !privileged() {
		t.Log("the tests run unprivileged already")
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	binary, err := os.ReadFile(self)
	require.NoError(t, err)
	dir := openDir(t)
	copied := filepath.Join(dir, "jail.test")
	require.NoError(t, os.WriteFile(copied, binary, 0o755))
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all",
		copied, "-test.timeout=120s", "-test.run=^Test")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/"}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), "PASS")
}

func BenchmarkStart(b *testing.B) {
	s := helperSpec(b, "exit", "0")
	for b.Loop() {
		p, err := Start(b.Context(), s)
		require.NoError(b, err)
		require.NoError(b, p.Wait())
	}
}
