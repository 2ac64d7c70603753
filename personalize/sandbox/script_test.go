package sandbox

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func startScript(t testing.TB, o ScriptConfig) *Script {
	t.Helper()
	tl, err := tools()
	require.NoError(t, err)
	o.Guest = tl.Guest
	o.Tools, err = FindScriptTools()
	require.NoError(t, err)
	began := time.Now()
	s, err := StartScript(t.Context(), o)
	require.NoError(t, err)
	t.Logf("%d binds, started in %v", len(o.Tools.Binds), time.Since(began))
	t.Cleanup(func() {
		s.Close()
		if t.Failed() {
			t.Log(s.cell.Console())
		}
	})
	return s
}

// shell returns what a text prints, both streams.
func shell(t testing.TB, s *Script, text, stdin string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := s.Shell(patience(t), Line{Text: text, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &out})
	return out.String(), err
}

// TestScriptTools runs what published plan scripts use, as they use it.
func TestScriptTools(t *testing.T) {
	s := startScript(t, ScriptConfig{})
	for text, want := range map[string]string{
		`case $SHELLOPTS in *posix*) echo posix; esac; echo $0`: "posix\nsh\n",
		`pwd; id -u; umask`: "/work\n0\n0022\n",
		`cat`:               "input\n",
		`echo $((1+2)); [[ "10.1.2.3" =~ [0-9]*\.[0-9]* ]]`:                                                   "3\n",
		`x=ABC; echo ${x,,}; a=(1 2); echo ${a[@]}`:                                                           "abc\n1 2\n",
		`echo 'echo sourced $1; y=5' > ./x; source ./x a; echo $y`:                                            "sourced a\n5\n",
		`printf '#!/bin/bash\necho run\n' > r; chmod +x r; ./r`:                                               "run\n",
		`diff <(echo a) <(echo a) && echo same > /dev/stderr`:                                                 "same\n",
		`printf 'a b\n' | awk '{print toupper($2), gensub(/a/, "z", 1)}' | sed 's/B/C/'`:                      "C z b\n",
		`awk 'BEGIN { print gensub("a", "b", 1, "a") }'`:                                                      "b\n",
		`python3 -c 'import json, re, xml.dom.minidom, hashlib, os; print(json.dumps([os.getcwd()]))'`:        "[\"/work\"]\n",
		`echo '<a><b/></a>' | xmllint --format - | wc -l`:                                                     "4\n",
		`printf 'a\n' > f; unix2dos -q f; od -An -c f`:                                                        "   a  \\r  \\n\n",
		`mkdir d; echo 1 > d/f; tar czf t.tgz d; rm -r d; tar xzf t.tgz; cat d/f`:                             "1\n",
		`seq 3 | sort -r | head -n1 | tr 3 4; date +%Y | wc -c; find /usr/bin -name sed`:                      "4\n5\n/usr/bin/sed\n",
		`sleep 1000 & echo left`:                                                                              "left\n",
		`hostname 2>/dev/null; ls /home /root /var /etc 2>/dev/null; ls -d /usr/local /opt 2>/dev/null; true`: "jail\n",
	} {
		out, err := shell(t, s, text, "input\n")
		require.NoError(t, err, "%s: %s", text, out)
		require.Equal(t, want, out, "%s", text)
	}
	_, err := shell(t, s, "exit 3", strings.Repeat("not read\n", 100000))
	require.EqualError(t, err, "the shell ended with status 3")
	_, err = shell(t, s, "kill -9 $$", "")
	require.EqualError(t, err, "the shell was ended by signal 9")
}

// TestScriptFiles: what scripts leave is there for the host, and the other way.
func TestScriptFiles(t *testing.T) {
	s := startScript(t, ScriptConfig{})
	ctx := patience(t)
	in := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	require.NoError(t, s.Write(ctx, "./in", bytes.NewReader(in), 0o644))
	out, err := shell(t, s, `sha256sum < in > sum; cp in out; cat sum; mkdir -p new/dir; echo hi > new/dir/f; ln -s ../f new/l`, "")
	require.NoError(t, err)
	require.Len(t, out, 64+4)
	var back bytes.Buffer
	require.NoError(t, s.Read(ctx, "out", &back, 1<<21))
	require.True(t, bytes.Equal(in, back.Bytes()))
	list, err := s.Walk(ctx, "new")
	require.NoError(t, err)
	require.Equal(t, []Entry{{"dir", "directory"}, {"dir/f", "file"}, {"l", "link"}}, list)
	require.ErrorIs(t, s.Read(ctx, "none", io.Discard, 10), os.ErrNotExist)
	require.ErrorIs(t, s.Read(ctx, "out", io.Discard, 10), ErrTooLong)
	_, err = s.Stat(ctx, "/work/out")
	require.NoError(t, err)
}

// TestScriptLimits: a script can take no more than its cell.
func TestScriptLimits(t *testing.T) {
	s := startScript(t, ScriptConfig{Space: 4 << 20, CPU: time.Second})
	out, err := shell(t, s, "head -c 8M /dev/zero > big", "")
	require.ErrorContains(t, err, "status 1")
	require.Contains(t, out, "No space left")
	_, err = shell(t, s, "rm big; while :; do :; done", "")
	require.ErrorContains(t, err, "signal 9", "the time to compute")
	out, err = shell(t, s, `python3 -c "import os, time
for i in range(1000):
  if os.fork() == 0: time.sleep(1000)"`, "")
	require.ErrorContains(t, err, "status 1")
	require.Contains(t, out, "BlockingIOError", "the number of processes")
	_, err = shell(t, s, "exec 3<>/dev/tcp/127.0.0.1/22", "")
	require.Error(t, err, "there is no network")
	out, err = shell(t, s, "cat /proc/sys/kernel/core_pattern > /dev/null; echo x > /proc/sys/kernel/hostname; echo x > /usr/bin/sed; mount -t tmpfs t /tmp", "")
	require.Error(t, err, "%s", out)
	_, err = shell(t, s, "echo alive", "")
	require.NoError(t, err)
	err = s.Shell(patience(t), Line{Text: "yes", Stdout: io.Discard, Stderr: io.Discard, Limit: 1 << 20})
	require.ErrorIs(t, err, ErrTooLong)
	_, err = shell(t, s, "echo dead", "")
	require.ErrorContains(t, err, "the sandbox ended")
}

// TestScriptCancel: the end of the context ends a script that would not.
func TestScriptCancel(t *testing.T) {
	s := startScript(t, ScriptConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		_, _ = r.Read(make([]byte, 1))
		cancel()
		_, _ = io.Copy(io.Discard, r)
	}()
	err := s.Shell(ctx, Line{Text: "trap '' TERM INT; echo on; sleep 1000000", Stdout: w, Stderr: w})
	_ = w.Close()
	require.ErrorIs(t, err, context.Canceled)
}
