package runner

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

// TestHostileShells: what a script's shell cannot do. Each line prints what it got,
// and shall print nothing.
func TestHostileShells(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("host secret"), 0o644))
	c := boot(t, makeDisk(t, partition{64, "ext4", linux(t)}))
	for _, line := range []string{
		"cat " + secret, "cat /etc/passwd /etc/shadow", "ls /root /home /var /opt /usr/local",
		"echo x > /usr/bin/new && echo written", "echo x >> /usr/bin/sed && echo written", "echo x > /new && echo written",
		"echo x > /proc/sys/kernel/hostname && echo written", "touch /proc/1/x && echo made",
		"exec 3<>/dev/tcp/127.0.0.1/22 && echo connected",
		`python3 -c 'import socket; socket.socket(socket.AF_INET); print("made")'`,
		`python3 -c 'import socket; socket.socket(socket.AF_NETLINK); print("made")'`,
		`python3 -c 'import os; os.mknod("d", 0o60600, os.makedev(8, 0)); print("made")'`,
		`python3 -c 'import os; os.setuid(1); print("changed")'`, `python3 -c 'import os; os.chroot("/tmp"); print("changed")'`,
		`python3 -c 'import ctypes; l = ctypes.CDLL(None); print("made") if l.unshare(0x10000000) == 0 or l.mount(b"t", b"/tmp", b"tmpfs", 0, 0) == 0 else 0'`,
		`python3 -c 'import ctypes; print("traced") if ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0 else 0'`,
		"kill -9 1; kill -STOP 1; sleep 0; false", // the first process of the cell stays
		`for p in /proc/[0-9]*; do [ -e $p/root/etc/passwd ] && echo "sees $p"; done`,
		"ln -s " + secret + " ./link; cat ./link",
	} {
		printed, err := play(t, c, "-!("+line+") 2>/dev/null")
		require.NoError(t, err, "%s", line)
		require.Empty(t, printed, "%s", line)
	}
	// Nor do links lead the runner out of a cell.
	_, err := play(t, c, "mount /dev/sda1 /\n!ln -s "+secret+" ./link\nupload ./link /x")
	require.ErrorContains(t, err, "no such file")
	_, err = play(t, c, "mount /dev/sda1 /\nln-s "+secret+" /x\ndownload /x -")
	require.ErrorContains(t, err, "no such file")
	// A script that speaks in the name of its cell ends that at most.
	_, err = play(t, c, "!head -c 100000 /dev/urandom > /proc/1/fd/4; exit 1")
	require.Error(t, err)
	_, err = play(t, c, "mount /dev/sda1 /\ncat /etc/hostname")
	require.NoError(t, err)
}

// TestHostileScripts: each is stopped, with the reason, and the disk cell goes on.
func TestHostileScripts(t *testing.T) {
	if os.Getenv("GOLDSTREAM_SANDBOX") == "" {
		t.Skip("'make test-sandbox' runs it")
	}
	c := boot(t, makeDisk(t, partition{8, "ext4", linux(t)}))
	for name, s := range map[string]struct {
		script, says string
		time         time.Duration // of each command; 0: the default
	}{
		"never ends":                 {"!trap '' TERM; sleep 987654321", "a command has 1s", time.Second},
		"never ends, inline":         {"<!while :; do :; done", "a command has 1s", time.Second},
		"prints without end":         {"!yes", "the output is too long", 0},
		"commands without end":       {"<!yes echo x", "the output is too long", 0},
		"fills the local side":       {"!head -c 4G /dev/zero > ./x", "status 1", 0},
		"fills the disk":             {"mount /dev/sda1 /\n!head -c 8M /dev/zero > ./x\nupload ./x /a", "no space left", 0},
		"forks without end":          {`!python3 -c "import os; [os.fork() for i in range(64)]"`, "status 1", 0},
		"runs itself without end":    {"!echo '<!sh ./me' > ./me.out; echo 'cat ./me.out' > ./me\n<!sh ./me", "<! inside each other", 0},
		"leaves processes behind it": {"!(setsid sleep 987654321 &) ; setsid sleep 987654321 & disown; exit 3", "status 3", 0},
	} {
		t.Run(name, func(t *testing.T) {
			var j journalText
			err := Run(patience(t), c, compile(t, attribute.Inputs{}, s.script), Options{Local: startLocal, Log: j.hear, CommandTimeout: s.time})
			require.ErrorContains(t, err, s.says, "%s", j.String()[:min(j.Len(), 2000)])
			// The cell is waited for before the plan returns.
			require.Zero(t, processesWith(t, "sleep\x00987654321", "cmdline"), "nothing outlives its script")
		})
	}
	printed, err := play(t, c, "mount /dev/sda1 /\ncat /etc/hostname")
	require.NoError(t, err)
	require.Equal(t, "golden\n\n", printed)
}

// TestHostileValues: a value that breaks out of the quotes of a shell is in the script
// cell all the same; one that would be another line or word of a script is refused
// before anything runs.
func TestHostileValues(t *testing.T) {
	c := boot(t, makeDisk(t, partition{64, "ext4", linux(t)}))
	outside := filepath.Join(t.TempDir(), "outside")
	compiled := func(value, script string) (*personalize.Plan, error) {
		in := attribute.Inputs{
			Definitions: []attribute.Definition{attribute.NewDefinition("Motd", attribute.String, "")},
			Profile:     []attribute.Value{attribute.NewValue("Motd", attribute.String, value)},
		}
		return personalize.Compile([]personalize.Step{{Name: "s", Script: personalize.PlanScript{Type: personalize.General, Content: script}}}, in)
	}
	plan, err := compiled("x'; touch "+outside+"; cat /etc/passwd; touch ./inside; echo 'y", "!echo '@Motd@'\n!ls\nmount /dev/sda1 /\ncat /etc/hostname")
	require.NoError(t, err)
	var j journalText
	require.NoError(t, Run(patience(t), c, plan, Options{Local: startLocal, Log: j.hear}))
	require.Equal(t, "x\ny\ninside\ngolden\n\n", noComplaints(j.output.String()))
	require.NoFileExists(t, outside)
	for _, value := range []string{"x\nrm-rf /", "x\r\n!id", `x" "y`, `x\q`, "\x00"} {
		_, err := compiled(value, "mount /dev/sda1 /\nwrite /etc/motd \"@Motd@\"")
		require.ErrorIs(t, err, attribute.ErrInvalid, "%q", value)
	}
}

// noComplaints leaves out what tools say of files that they do not see.
func noComplaints(text string) (out string) {
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "No such file") && !strings.Contains(line, "Read-only") && !strings.Contains(line, "Permission denied") {
			out += line
		}
	}
	return out
}

// TestNoSecretInArguments looks at all processes of this host while a script with a
// password runs.
func TestNoSecretInArguments(t *testing.T) {
	c := boot(t, makeDisk(t, partition{64, "ext4", linux(t)}))
	const password = "pa55-of-the-test"
	in := attribute.Inputs{
		Definitions: []attribute.Definition{attribute.NewDefinition("Root", attribute.Password, "")},
		Profile:     []attribute.Value{attribute.NewValue("Root", attribute.Password, password)},
	}
	var j journalText
	var shells, arguments, variables int
	// What it prints behind the mark keeps it from ending before the mark is heard.
	err := Run(patience(t), c, compile(t, in, "!x='@Root@'; echo mark; seq 100000; echo $x"), Options{Local: startLocal, Log: func(l Line) {
		j.hear(l)
		if l.Text == "mark" {
			shells = processesWith(t, "sh\x00/dev/fd/3", "cmdline")
			arguments, variables = processesWith(t, password, "cmdline"), processesWith(t, password, "environ")
		}
	}})
	require.NoError(t, err)
	require.Equal(t, 1, min(1, shells), "the shell runs")
	require.Zero(t, arguments)
	require.Zero(t, variables)
	require.NotContains(t, j.String(), password)
	require.Contains(t, j.String(), "output: "+attribute.Mask+"\n")
}

// processesWith counts the processes in whose file of /proc a text stands.
func processesWith(t *testing.T, text, file string) (n int) {
	t.Helper()
	list, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, e := range list {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		content, err := os.ReadFile(filepath.Join("/proc", e.Name(), file))
		if err == nil && strings.Contains(string(content), text) {
			n++
		}
	}
	return n
}
