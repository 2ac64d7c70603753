package sandbox

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestKilledOwner: kill -9 of the process that has a cell leaves no process, no
// mount and no file.
func TestKilledOwner(t *testing.T) {
	_, err := tools()
	require.NoError(t, err)
	disk := makeDisk(t, 16<<20, "")
	self, err := os.Executable()
	require.NoError(t, err)
	before := entries(t, shared)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), holderVariable+"="+shared+":"+disk)
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	children := family(t, pid)
	require.NotEmpty(t, children, "the guest's processes are the host's")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for _, p := range append(children, pid) {
		require.Eventually(t, func() bool { return unix.Kill(p, 0) == unix.ESRCH }, time.Minute, 10*time.Millisecond, "process %d", p)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), disk)
	require.NotContains(t, string(mounts), shared)
	require.Equal(t, before, entries(t, shared))
}

// family lists the children of a process.
func family(t testing.TB, pid int) (list []int) {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	for _, task := range entries(t, dir) {
		text, err := os.ReadFile(dir + "/" + task + "/children")
		require.NoError(t, err)
		for _, field := range strings.Fields(string(text)) {
			n, err := strconv.Atoi(field)
			require.NoError(t, err)
			list = append(list, n)
		}
	}
	return list
}

func entries(t testing.TB, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
