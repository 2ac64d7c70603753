package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"goldstream/blockstore"
)

const testDisk = 8 << 20

// TestSameWithAndWithoutDaemon runs one story through a daemon and without one
// and compares all that was printed, but for ids and times.
func TestSameWithAndWithoutDaemon(t *testing.T) {
	h := newHouse(t)
	require.Contains(t, h.run("volume", "create", "first", "--size", "1MiB").err, "new data directory")
	h.must("volume", "delete", "first")
	inside := story(t, h)
	h = newHouse(t)
	s := h.serve()
	served := story(t, h)
	s.stop()
	require.Equal(t, inside, served)
	require.Contains(t, s.log.String(), "/v1/images/raw/import", "the daemon was asked")
}

// story runs commands and returns the transcript.
func story(t *testing.T, h *house) string {
	dir := filepath.Dir(h.data)
	raw := filepath.Join(dir, "disk.raw")
	disk := rawDisk(t, raw, testDisk, 1)
	tool(t, "zstd", "-q", raw, "-o", raw+".zst")
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, raw+".qcow2")
	var log strings.Builder
	step := func(args ...string) {
		r := h.run(args...)
		fmt.Fprintf(&log, "$ %s\n%s%s[%d]\n", strings.Join(args, " "), r.out, r.err, r.code)
	}
	from := func(path string) {
		p, err := os.ReadFile(path)
		require.NoError(t, err)
		h.in = bytes.NewReader(p)
	}
	step("image", "import", "raw", raw)
	step("image", "import", "raw", raw)
	step("image", "import", "zst", raw+".zst", "--json")
	from(raw + ".zst")
	step("image", "import", "piped", "-", "--owner", "me")
	from(raw)
	step("image", "import", "--json", "--", "piped-raw", "-")
	step("image", "list")
	step("image", "inspect", "piped", "--json")
	step("image", "verify", "raw")
	step("volume", "create", "web-1", "--image", "raw")
	step("volume", "create", "web-2", "--size", "64MiB", "--image=raw", "--json")
	step("--data", h.data, "volume", "create", "--image", "raw", "web-3", "--request-id", "r1")
	step("volume", "create", "web-3", "--image", "raw", "--request-id", "r1")
	step("volume", "create", "web-3", "--image", "raw")
	step("volume", "list")
	step("volume", "grow", "web-1", "--size", "16MiB")
	step("volume", "inspect", "web-1")
	step("image", "capture", "shot", "--volume", "web-1")
	step("image", "export", "raw", filepath.Join(dir, "out.raw"))
	step("image", "export", "zst", filepath.Join(dir, "out.zst"), "--json")
	step("image", "export", "raw", "-", "--format", "raw")
	step("snapshot", "create", "web-1", "s1", "--owner", "me")
	step("snapshot", "create", "web-1", "s2", "--json", "--request-id", "r2")
	step("snapshot", "create", "web-1", "s2", "--json", "--request-id", "r2")
	step("snapshot", "create", "web-1", "s3")
	step("snapshot", "list", "web-1")
	step("snapshot", "prune", "web-1", "--keep-last", "1", "--dry-run")
	step("snapshot", "prune", "web-1", "--keep-last=1", "--owner", "me")
	step("snapshot", "prune", "web-1", "--keep-last", "2", "--json")
	step("snapshot", "export", "web-1", "s2", filepath.Join(dir, "s2.raw"))
	step("snapshot", "export", "web-1", "s2", filepath.Join(dir, "s2.zst"), "--json")
	step("image", "capture", "shot-2", "--volume", "web-1", "--snapshot", "s2")
	step("volume", "create", "web-4", "--snapshot", "web-1/s2")
	step("volume", "rollback", "web-1", "s2", "--as", "before")
	step("volume", "rollback", "web-1", "before", "--json", "--disconnect", "--owner", "me")
	step("snapshot", "list", "web-1", "--json")
	step("snapshot", "delete", "web-1", "s2")
	step("snapshot", "delete", "web-1", "s2", "--json")
	step("space", "--json")
	step("volume", "delete", "web-4", "--keep", "72h")
	step("volume", "delete", "web-3", "--keep", "2d", "--json")
	step("volume", "list", "--retired")
	step("volume", "list", "--retired", "--json")
	step("volume", "restore", "web-4", "--as", "web-5")
	step("volume", "restore", "web-3", "--as", "web-5")
	step("volume", "purge", "web-3")
	step("volume", "purge", "web-3")
	step("volume", "delete", "web-2")
	step("volume", "delete", "web-2")
	step("image", "delete", "zst", "--json")
	step("volume", "list", "--json")
	step("image", "list", "--json")

	same(t, disk, filepath.Join(dir, "out.raw"))
	tool(t, "zstd", "-qd", filepath.Join(dir, "out.zst"), "-o", filepath.Join(dir, "out2.raw"))
	same(t, disk, filepath.Join(dir, "out2.raw"))
	grown := append(disk[:len(disk):len(disk)], make([]byte, 8<<20)...)
	same(t, grown, filepath.Join(dir, "s2.raw"))
	tool(t, "zstd", "-qd", filepath.Join(dir, "s2.zst"), "-o", filepath.Join(dir, "s22.raw"))
	same(t, grown, filepath.Join(dir, "s22.raw"))
	require.Contains(t, log.String(), string(disk[:64]), "exported to standard output")
	return anonymous(log.String(), dir)
}

// anonymous takes out of a transcript what differs from run to run.
func anonymous(s, dir string) string {
	s = strings.ReplaceAll(s, dir, "DIR")
	for pattern, name := range map[string]string{
		`\b[0-9a-f]{32}\b`:                 "ID",
		`\d{4}-\d\d-\d\d[T ][0-9:.]{8,}Z?`: "TIME",
		`before-rollback-[0-9TZ.]+`:        "before-rollback-TIME",
	} {
		s = regexp.MustCompile(pattern).ReplaceAllString(s, name)
	}
	return s
}

func same(t *testing.T, want []byte, path string) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "%s differs", path)
}

// TestServe moves disks through the daemon with libnbd's programs.
func TestServe(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Dir(h.data)
	raw := filepath.Join(dir, "disk.raw")
	disk := rawDisk(t, raw, testDisk, 2)
	s := h.serve()
	h.must("image", "import", "debian", raw)
	h.must("volume", "create", "web-1", "--image", "debian")

	var list struct {
		Exports []struct {
			Name     string `json:"export-name"`
			Size     int64  `json:"export-size"`
			ReadOnly bool   `json:"is_read_only"`
		} `json:"exports"`
	}
	require.NoError(t, json.Unmarshal([]byte(tool(t, "nbdinfo", "--list", "--json", s.uri)), &list))
	require.Len(t, list.Exports, 2)
	assert.Equal(t, "web-1", list.Exports[0].Name)
	assert.Equal(t, "images/debian", list.Exports[1].Name)
	assert.EqualValues(t, testDisk, list.Exports[1].Size)
	assert.False(t, list.Exports[0].ReadOnly)
	assert.True(t, list.Exports[1].ReadOnly)

	for _, export := range []string{"web-1", "images/debian"} {
		out := filepath.Join(dir, "copy")
		tool(t, "nbdcopy", s.uri+"/"+export, out)
		same(t, disk, out)
	}
	other := filepath.Join(dir, "other.raw")
	fresh := rawDisk(t, other, testDisk, 3)
	tool(t, "nbdcopy", "--flush", other, s.uri+"/web-1")
	s.stop()
	assert.NoFileExists(t, filepath.Join(h.data, "goldstream.sock"))

	s = h.serve()
	tool(t, "nbdcopy", s.uri+"/web-1", filepath.Join(dir, "copy"))
	same(t, fresh, filepath.Join(dir, "copy"))
	tool(t, "nbdcopy", s.uri+"/images/debian", filepath.Join(dir, "copy"))
	same(t, disk, filepath.Join(dir, "copy"))
	h.must("image", "capture", "tuned", "--volume", "web-1")
	h.must("image", "export", "tuned", filepath.Join(dir, "tuned.raw"))
	same(t, fresh, filepath.Join(dir, "tuned.raw"))
	s.stop()
}

// TestConverted imports formats that need to be converted, from a file and from
// a pipe.
func TestConverted(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Dir(h.data)
	raw := filepath.Join(dir, "disk.raw")
	disk := rawDisk(t, raw, testDisk, 4)
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, raw+".qcow2")
	s := h.serve()
	h.must("image", "import", "file", raw+".qcow2")
	f, err := os.Open(raw + ".qcow2")
	require.NoError(t, err)
	defer f.Close()
	h.in = f
	h.must("image", "import", "stream", "-")
	for _, name := range []string{"file", "stream"} {
		h.must("image", "export", name, filepath.Join(dir, name))
		same(t, disk, filepath.Join(dir, name))
	}
	left, err := os.ReadDir(filepath.Join(h.data, "tmp"))
	require.NoError(t, err)
	require.Empty(t, left)
	s.stop()
}

// TestImportOfDescriptors names descriptors of the command as the source, which
// are others in the daemon.
func TestImportOfDescriptors(t *testing.T) {
	check := func(t *testing.T, h *house) {
		dir := filepath.Dir(h.data)
		for i, source := range []string{"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"} {
			raw, out, name := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "out.raw"), fmt.Sprintf("image-%d", i)
			want := rawDisk(t, raw, 1<<20, uint64(20+i))
			f, err := os.Open(raw)
			require.NoError(t, err)
			h.in = f
			h.must("image", "import", name, source)
			h.must("image", "export", name, out)
			same(t, want, out)
			h.in = bytes.NewReader(want[:512<<10]) // a pipe
			h.must("image", "import", name+"-piped", source)
			require.NoError(t, f.Close())
		}
	}
	t.Run("inside", func(t *testing.T) { check(t, newHouse(t)) })
	t.Run("served", func(t *testing.T) {
		h := newHouse(t)
		wrong := filepath.Join(shortTempDir(t), "wrong.raw")
		rawDisk(t, wrong, 1<<20, 30)
		f, err := os.Open(wrong)
		require.NoError(t, err)
		defer f.Close()
		h.in = f // the daemon's standard input is a disk, too
		s := h.serve()
		check(t, h)
		s.stop()
	})
}

// TestExportIsSparse exports a disk that is almost only a hole.
func TestExportIsSparse(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Dir(h.data)
	raw, out := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "out.raw")
	require.NoError(t, os.WriteFile(raw, bytes.Repeat([]byte("x"), 4096), 0o644))
	require.NoError(t, os.Truncate(raw, 1<<30))
	h.must("image", "import", "hollow", raw)
	h.must("image", "export", "hollow", out)
	var st syscall.Stat_t
	require.NoError(t, syscall.Stat(out, &st))
	require.EqualValues(t, 1<<30, st.Size)
	require.Less(t, st.Blocks*512, int64(1<<20))
	require.Empty(t, partials(t, filepath.Dir(out)))
}

// TestExitCodes holds the table of exit codes to what commands do, with and
// without a daemon.
func TestExitCodes(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Dir(h.data)
	raw := filepath.Join(dir, "disk.raw")
	rawDisk(t, raw, testDisk, 5)
	tool(t, "gzip", "-k", raw)
	damaged := filepath.Join(dir, "damaged.gz")
	p, err := os.ReadFile(raw + ".gz")
	require.NoError(t, err)
	p[len(p)/2] ^= 1
	require.NoError(t, os.WriteFile(damaged, p, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cut.gz"), p[:len(p)/3], 0o644))

	assert.Equal(t, exitNotFound, h.run("image", "list").code, "no data directory")
	h.must("image", "import", "debian", raw)
	h.must("volume", "create", "web-1", "--image", "debian")
	h.must("snapshot", "create", "web-1", "s")
	h.must("volume", "create", "twice", "--size", "1MiB")
	h.must("volume", "delete", "twice", "--keep", "1h")
	h.must("volume", "create", "twice", "--size", "1MiB")
	h.must("volume", "delete", "twice", "--keep", "1h")
	table := []struct {
		code int
		says string
		args string
	}{
		{0, "", "volume list"},
		{0, "", "version"},
		{0, "", "completion bash"},
		{1, "checksum", "image import bad " + damaged},
		{1, "cut short", "image import bad " + filepath.Join(dir, "cut.gz")},
		{2, "bogus", "bogus"},
		{2, "image bogus", "image bogus"},
		{2, "say which", "image"},
		{2, "NAME is missing", "volume create"},
		{2, `unexpected argument "y"`, "image inspect x y"},
		{2, "-nope", "image list --nope"},
		{2, "too large", "volume create x --image debian --size 9999PiB"},
		{2, "too large", "volume create x --image debian --size 9999.5PiB"},
		{2, "goldstream version", "--version"},
		{2, "is a directory", "image import x /"},
		{2, "no size", "volume create x --image debian --size 12Q"},
		{2, "--image", "volume create x"},
		{2, "smaller", "volume create x --image debian --size 1MiB"},
		{2, "--format", "image export debian out --format vmdk"},
		{2, "fish", "completion fish"},
		{2, "name", "volume create no/slash --image debian"},
		{2, "NAME is missing", "snapshot create web-1"},
		{2, "name", "snapshot create web-1 no/slash"},
		{2, "--keep-last", "snapshot prune web-1"},
		{2, "keep", "snapshot prune web-1 --keep-last=-1"},
		{2, "invalid", "snapshot prune web-1 --keep-last many"},
		{2, "VOLUME/NAME", "volume create x --snapshot web-1"},
		{2, "name one of them", "volume create x --snapshot web-1/s --image debian"},
		{2, "72h or 30d", "volume delete web-1 --keep forever"},
		{2, "72h or 30d", "volume delete web-1 --keep 0d"},
		{2, "72h or 30d", "volume delete web-1 --keep -1h"},
		{2, "by its ID", "volume restore twice"},
		{2, "by its ID", "volume purge twice"},
		{2, "snapshot export: " + dir + " is a directory", "snapshot export web-1 s " + dir},
		{3, "nope", "snapshot list nope"},
		{3, "nope", "snapshot create nope s"},
		{3, "nope", "snapshot delete web-1 nope"},
		{3, "nope", "snapshot prune nope --keep-last 1"},
		{3, "nope", "snapshot export web-1 nope " + filepath.Join(dir, "none")},
		{3, "nope", "image capture x --volume web-1 --snapshot nope"},
		{3, "nope", "volume create x --snapshot web-1/nope"},
		{3, "nope", "volume rollback web-1 nope"},
		{3, "nope", "volume restore nope"},
		{3, "nope", "volume purge nope"},
		{3, "nope", "volume delete nope --keep 1h"},
		{4, "web-1", "snapshot create web-1 s"},
		{4, "choose another name", "volume rollback web-1 s --as s"},
		{3, "nope", "image inspect nope"},
		{3, "nope", "volume create x --image nope"},
		{3, "nope", "volume delete nope"},
		{3, "nope", "volume grow nope --size 1GiB"},
		{3, "nope", "image export nope " + filepath.Join(dir, "none")},
		{3, "no such file", "image import x " + filepath.Join(dir, "missing")},
		{4, "debian", "image import debian " + raw},
		{4, "web-1", "volume create web-1 --image debian"},
	}
	check := func(t *testing.T, asJSON bool) {
		for _, row := range table {
			args := strings.Fields(row.args)
			if asJSON {
				args = append(args, "--json")
			}
			r := h.run(args...)
			assert.Equal(t, row.code, r.code, "%s: %s", row.args, r.err)
			assert.Contains(t, message(t, r.err, asJSON && row.code != 0), row.says, row.args)
			assert.NotContains(t, r.err, "goldstream: :", row.args)
			if row.code != 0 {
				assert.Empty(t, r.out, row.args)
			}
		}
		assert.Empty(t, partials(t, dir))
		assert.NotContains(t, h.must("image", "list"), "bad")
	}
	t.Run("inside", func(t *testing.T) { check(t, false) })
	t.Run("inside, JSON", func(t *testing.T) { check(t, true) })
	s := h.serve()
	t.Run("served", func(t *testing.T) { check(t, false) })
	s.stop()
}

// message takes the message out of an error that was printed as JSON, the last
// line. All of them are documents.
func message(t *testing.T, printed string, asJSON bool) string {
	if !asJSON {
		return printed
	}
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	for _, line := range lines {
		assert.True(t, json.Valid([]byte(line)), printed)
	}
	var body struct {
		Error struct{ Code, Message string } `json:"error"`
	}
	assert.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &body), printed)
	assert.NotEmpty(t, body.Error.Code, printed)
	return body.Error.Message
}

// TestSecondDaemon checks that one data directory has one daemon.
func TestSecondDaemon(t *testing.T) {
	h := newHouse(t)
	s := h.serve()
	r := h.run("serve", "--nbd", "127.0.0.1:0")
	require.Equal(t, exitLocked, r.code, r.err)
	require.Contains(t, r.err, fmt.Sprint(s.cmd.Process.Pid))
	require.Contains(t, h.must("status"), fmt.Sprint(s.cmd.Process.Pid), "the first one still answers")
	s.kill()
	require.FileExists(t, filepath.Join(h.data, "goldstream.sock"))
	h.must("volume", "create", "x", "--size", "1MiB") // the stale socket is no hindrance
	s = h.serve()
	require.Contains(t, h.must("volume", "list"), "x")
	s.stop()
}

// TestNewerFormat checks that a store from the future is left alone.
func TestNewerFormat(t *testing.T) {
	h := newHouse(t)
	h.must("volume", "create", "x", "--size", "1MiB")
	format := filepath.Join(h.data, "blocks", "FORMAT")
	p, err := os.ReadFile(format)
	require.NoError(t, err)
	newer := bytes.ReplaceAll(p, []byte("format 1"), []byte("format 99"))
	require.NotEqual(t, p, newer)
	require.NoError(t, os.WriteFile(format, newer, 0o644))
	for _, args := range [][]string{{"volume", "list"}, {"serve", "--nbd", "127.0.0.1:0"}} {
		r := h.run(args...)
		require.Equal(t, exitFailure, r.code, r.err)
		require.Contains(t, r.err, "99")
	}
	same(t, newer, format)
}

// TestStopAnswersWhatWasRead stops a daemon under writers: no request is
// answered with an error, and every answer holds.
func TestStopAnswersWhatWasRead(t *testing.T) {
	h := newHouse(t)
	h.must("volume", "create", "v", "--size", "16MiB")
	s := h.serve()
	c, err := dialNBD(s.socket, "v")
	require.NoError(t, err)
	type end struct {
		acked int
		err   error
	}
	ends := make(chan end)
	for i := range 4 {
		go func() {
			e := end{}
			for ; e.err == nil; e.acked++ {
				p := bytes.Repeat([]byte{byte(e.acked)}, 4096)
				e.err = c.do(nbdWrite, 0, int64(i)*4096, len(p), p)
			}
			ends <- e
		}()
	}
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	s.stop()
	require.Less(t, time.Since(start), 5*time.Second)
	for range 4 {
		e := <-ends
		require.ErrorIs(t, e.err, errLost)
		require.Greater(t, e.acked, 1)
	}
	c.close()
}

// TestStopCancelsLongWork stops a daemon while an import waits for its input.
func TestStopCancelsLongWork(t *testing.T) {
	h := newHouse(t)
	s := h.serve("--drain-timeout", "200ms")
	cmd, in, errs := h.slowImport()
	s.stop()
	err := cmd.Wait()
	in.Close()
	require.Error(t, err)
	require.Equal(t, exitFailure, cmd.ProcessState.ExitCode(), errs.String())
	require.Contains(t, errs.String(), "the daemon was stopped")
	require.NotContains(t, h.must("image", "list"), "slow")
}

// TestInterruptCancelsImport sends the signal of Ctrl-C.
func TestInterruptCancelsImport(t *testing.T) {
	check := func(t *testing.T, h *house) {
		cmd, in, errs := h.slowImport()
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		_ = cmd.Wait()
		in.Close()
		require.Equal(t, exitCancelled, cmd.ProcessState.ExitCode(), errs.String())
		require.NotContains(t, h.must("image", "list"), "slow")
		raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
		rawDisk(t, raw, 1<<20, 6)
		require.Eventually(t, func() bool { return h.run("image", "import", "slow", raw).code == 0 }, 5*time.Second, 50*time.Millisecond)
	}
	t.Run("inside", func(t *testing.T) { check(t, newHouse(t)) })
	t.Run("served", func(t *testing.T) {
		h := newHouse(t)
		s := h.serve()
		check(t, h)
		s.stop()
	})
}

// TestInterruptBeforeWriter ends an import from a pipe that nobody has opened
// for writing.
func TestInterruptBeforeWriter(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := (&call{ctx: ctx}).openSource(fifo)
	require.ErrorIs(t, err, context.Canceled)
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // lets go of what waits
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

// slowImport starts an import of a pipe that has brought something and brings
// no more until it is closed.
func (h *house) slowImport() (*exec.Cmd, io.Closer, *lockedBuffer) {
	h.tb.Helper()
	cmd, errs := h.command("image", "import", "slow", "-"), new(lockedBuffer)
	cmd.Stderr = errs
	pr, pw, err := os.Pipe()
	require.NoError(h.tb, err)
	cmd.Stdin = pr
	require.NoError(h.tb, cmd.Start())
	pr.Close()
	_, err = pw.Write(make([]byte, 4<<20)) // more than any buffer on the way
	require.NoError(h.tb, err)
	return cmd, pw, errs
}

// TestHangupLeavesNoPartial ends an export by the signal of a terminal that goes
// away.
func TestHangupLeavesNoPartial(t *testing.T) {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP) // the test itself may run under nohup
	defer signal.Stop(heard)
	ctx, stop := interruptible(t.Context())
	defer stop()
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	<-ctx.Done()
	signal.Ignore(syscall.SIGHUP)
	defer signal.Reset(syscall.SIGHUP)
	under, stop := interruptible(t.Context())
	defer stop()
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP)) // as under nohup
	require.NoError(t, under.Err())
}

// TestVerifyFindsDamage flips bytes below a sealed image.
func TestVerifyFindsDamage(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	disk := rawDisk(t, raw, testDisk, 7)
	h.must("image", "import", "debian", raw)
	require.Positive(t, flip(t, filepath.Join(h.data, "blocks", "layers"), disk[4096:8192]))
	r := h.run("image", "verify", "debian", "--json")
	require.Equal(t, exitDamaged, r.code, r.err)
	var rep blockstore.VerifyReport
	require.NoError(t, json.Unmarshal([]byte(r.out), &rep))
	require.NotEmpty(t, rep.Bad)
	require.Equal(t, exitDamaged, h.run("image", "verify", "debian").code)
}

// TestScrubWithoutADaemon runs in the command itself, which must wait for it.
func TestScrubWithoutADaemon(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	disk := rawDisk(t, raw, testDisk, 7)
	h.must("image", "import", "debian", raw)
	h.must("volume", "create", "web-1", "--image", "debian")
	require.Contains(t, h.must("scrub", "status"), "no scrub yet")
	r := h.run("scrub", "start")
	require.Equal(t, exitUsage, r.code, r.err)
	require.Contains(t, r.err, "--wait")
	require.Contains(t, h.must("scrub", "start", "--wait"), " done: ")
	require.Equal(t, exitNotFound, h.run("scrub", "cancel").code)

	require.Positive(t, flip(t, filepath.Join(h.data, "blocks", "layers"), disk[4096:8192]))
	r = h.run("scrub", "start", "--wait")
	require.Equal(t, exitDamaged, r.code, r.err)
	require.Contains(t, r.out, "volume web-1")
	r = h.run("scrub", "status", "--json")
	require.Equal(t, exitDamaged, r.code, r.err)
	var rep blockstore.ScrubReport
	require.NoError(t, json.Unmarshal([]byte(r.out), &rep))
	require.Equal(t, blockstore.ScrubDone, rep.State)
	require.Len(t, rep.Findings, 1)
	require.Equal(t, []string{"debian"}, rep.Findings[0].Images)
	require.Equal(t, []string{"image debian", "volume web-1"}, rep.Findings[0].Disks)
}

// TestRepair takes what is damaged from a compressed copy, and from a pipe.
func TestRepair(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	disk := rawDisk(t, raw, testDisk, 7)
	h.must("image", "import", "debian", raw)
	copied := filepath.Join(filepath.Dir(h.data), "disk.raw.zst")
	h.must("image", "export", "debian", copied)
	require.Contains(t, h.must("image", "repair", "debian", copied), "nothing to repair")
	layers := filepath.Join(h.data, "blocks", "layers")
	for _, source := range []string{copied, raw} {
		require.Positive(t, flip(t, layers, disk[4096:8192]))
		require.Equal(t, exitDamaged, h.run("image", "verify", "debian").code)
		r := h.run("image", "repair", "debian", source, "--json")
		require.Zero(t, r.code, r.err)
		var rep blockstore.RepairReport
		require.NoError(t, json.Unmarshal([]byte(r.out), &rep))
		require.Len(t, rep.Repaired, 1)
		require.Empty(t, rep.Unrepaired)
		h.must("image", "verify", "debian")
	}
	other := filepath.Join(filepath.Dir(h.data), "other.raw")
	rawDisk(t, other, testDisk, 8)
	require.Positive(t, flip(t, layers, disk[4096:8192]))
	r := h.run("image", "repair", "debian", other)
	require.Equal(t, exitDamaged, r.code, r.err)
	require.Contains(t, r.out, "still damaged")
}

// flip damages every file below dir where it holds needle, and returns how many.
func flip(t *testing.T, dir string, needle []byte) (n int) {
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		p := make([]byte, testDisk) // the file may be of a sparse TiB
		k, err := f.ReadAt(p, 0)
		if err != nil && err != io.EOF {
			return err
		}
		at := bytes.Index(p[:k], needle)
		if at < 0 {
			return nil
		}
		n++
		_, err = f.WriteAt([]byte{^needle[0]}, int64(at))
		return err
	}))
	return n
}

// TestServeJSONLog reads the log back.
func TestServeJSONLog(t *testing.T) {
	h := newHouse(t)
	s := h.serve("--log-format", "json", "--log-level", "debug")
	h.must("image", "list")
	s.stop()
	for _, line := range strings.Split(strings.TrimSpace(s.log.String()), "\n") {
		require.True(t, json.Valid([]byte(line)), line)
	}
	require.Contains(t, s.log.String(), `"msg":"ready"`)
}

// TestServeJSON reads the readiness line and the log of serve --json.
func TestServeJSON(t *testing.T) {
	h := newHouse(t)
	cmd := h.command("serve", "--json", "--nbd", "127.0.0.1:0")
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var ready readiness
	require.NoError(t, json.NewDecoder(out).Decode(&ready))
	require.Equal(t, testVersion, ready.Version)
	require.Len(t, ready.NBD, 1)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
	for _, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
		require.True(t, json.Valid([]byte(line)), line)
	}
}

// TestHelpHasExamples asks every verb for its help.
func TestHelpHasExamples(t *testing.T) {
	h := newHouse(t)
	for _, words := range []string{
		"serve", "status", "version", "completion", "space",
		"image import", "image list", "image inspect", "image export", "scrub start", "scrub status", "scrub cancel", "image verify", "image repair", "image digest", "image delete", "image capture",
		"volume create", "volume list", "volume inspect", "volume grow", "volume set", "volume delete", "volume restore", "volume purge", "volume rollback",
		"snapshot create", "snapshot list", "snapshot delete", "snapshot prune", "snapshot export",
		"capture", "bundle import", "bundle create", "bundle export", "bundle inspect", "bundle list", "bundle delete",
	} {
		out := h.must(append(strings.Fields(words), "--help")...)
		assert.Contains(t, out, "Example", words)
		assert.Contains(t, out, "goldstream "+words, words)
		assert.Contains(t, out, "--data", words)
		assert.Contains(t, out, "--json", words)
	}
	assert.Contains(t, h.must("--help"), "EXIT CODES")
}

// partials lists what an export has left half-made.
func partials(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".*.partial-*"))
	require.NoError(t, err)
	return names
}
