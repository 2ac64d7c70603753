package guestfish

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/attribute"
)

// values are what scripts of these tests know.
func values(name, member string) (attribute.Value, bool, bool) {
	switch name {
	case "Root":
		return attribute.NewValue(name, attribute.Password, `s3cret "x`), true, true
	case "Fail":
		return attribute.NewValue(name, attribute.String, "Fail_OS_Deployment"), true, true
	case "Two":
		return attribute.NewValue(name, attribute.String, "one\ntwo"), true, true
	}
	return attribute.Value{}, false, name == "Unset"
}

func parse(t *testing.T, script string, o Options) (*Program, error) {
	t.Helper()
	e, err := attribute.Expand(script, values)
	require.NoError(t, err)
	return Parse("s", e, o)
}

// one parses a script of one command.
func one(t *testing.T, script string) Command {
	t.Helper()
	p, err := parse(t, script, Options{})
	require.NoError(t, err)
	require.Len(t, p.Commands, 1)
	return p.Commands[0]
}

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		`echo`:                         {},
		`echo a  b`:                    {"a", "b"},
		"echo\ta\t ":                   {"a"},
		`echo "a b" 'c "d'`:            {"a b", `c "d`},
		`echo a"b"c 'it' d'e`:          {`a"b"c`, "it", "d'e"},
		`echo "\t\n\\\"\x41\101\?"`:    {"\t\n\\\"AA?"},
		`echo hi > f`:                  {"hi", ">", "f"},
		`echo a|b`:                     {"a|b"},
		`echo "" ''`:                   {"", ""},
		`echo a#b # c`:                 {"a#b", "#", "c"},
		`echo '\n'`:                    {`\n`},
		`echo -<<END`:                  {"-<<END"},
		`ECHO x`:                       {"x"},
		`write-append /f "server @x@"`: {"/f", "server @x@"},
		`umount / force:true`:          {"/", "force:true"},
		`copy-in a b /c`:               {"a", "b", "/c"},
	} {
		got := one(t, line).Args()
		require.Equal(t, want, append([]string{}, got...), "%s", line)
	}
}

func TestPipeNeedsABlank(t *testing.T) {
	_, err := parse(t, "echo\nlist-filesystems|cat", Options{})
	require.ErrorContains(t, err, `s:2:1: unknown command "list-filesystems|cat"`)
	require.Equal(t, []string{"/|cat"}, one(t, "ls /|cat").Args(), "in guestfish it is a path, too")
}

func TestKinds(t *testing.T) {
	p, err := parse(t, "\n# echo no\n   \t# no\n - -rm-f /a\n!source ./x | y\n-!false\n<! if true; then echo mount; fi \n-<!x\ncat /etc/os-release | grep ID > ./id\n-glob rm-rf /etc/ssh/ssh_host_*\nunmount /", Options{})
	require.NoError(t, err)
	var got []string
	for _, c := range p.Commands {
		pipe, piped := c.Pipe()
		got = append(got, fmt.Sprintf("%d %s %s fail=%v glob=%v %q shell=%q pipe=%q,%v", c.Position.Line, c.Kind, c.Name(), c.MayFail, c.Glob, c.Args(), c.Shell(), pipe, piped))
	}
	require.Equal(t, []string{
		`4 guest rm-f fail=true glob=false ["/a"] shell="" pipe="",false`,
		`5 shell ! fail=false glob=false [] shell="source ./x | y" pipe="",false`,
		`6 shell ! fail=true glob=false [] shell="false" pipe="",false`,
		`7 inline <! fail=false glob=false [] shell=" if true; then echo mount; fi " pipe="",false`,
		`8 inline <! fail=true glob=false [] shell="x" pipe="",false`,
		`9 guest cat fail=false glob=false ["/etc/os-release"] shell="" pipe=" grep ID > ./id",true`,
		`10 guest rm-rf fail=true glob=true ["/etc/ssh/ssh_host_*"] shell="" pipe="",false`,
		`11 guest umount fail=false glob=false ["/"] shell="" pipe="",false`,
	}, got)
}

func TestHeredoc(t *testing.T) {
	p, err := parse(t, "upload -<<END /a\nbare 'text \\n\n END\n!no\n\nEND\nupload -<<END /b\nEND\necho x", Options{})
	require.NoError(t, err)
	require.Len(t, p.Commands, 3)
	text, ok := p.Commands[0].Heredoc()
	require.True(t, ok)
	require.Equal(t, "bare 'text \\n\n END\n!no\n\n", text)
	require.Equal(t, []string{"-", "/a"}, p.Commands[0].Args())
	text, ok = p.Commands[1].Heredoc()
	require.True(t, ok && text == "")
	require.Equal(t, 9, p.Commands[2].Position.Line)
	_, err = parse(t, "echo a\nupload -<<END /a\nmkdir\n", Options{})
	require.EqualError(t, err, "s:2:8: the heredoc has no end: no line is \"END\" alone", "what follows is its text")
	_, err = parse(t, "upload -<<A /a\nA", Options{Generated: true})
	require.ErrorContains(t, err, "no end")
	_, err = parse(t, "uplaod -<<A /a\nrm -rf /\nA\nbogus", Options{})
	require.Equal(t, 2, strings.Count(err.Error(), "unknown"), "the text of a heredoc is no command")
}

func TestProblems(t *testing.T) {
	for script, want := range map[string]string{
		"echo a\n  bogus x":                `s:2:3: unknown command "bogus"`,
		"mkdir_p /a":                       "write mkdir-p",
		`echo "a`:                          "s:1:6: the double quote has no end",
		`echo 'a`:                          "s:1:6: the single quote has no end",
		`echo "a"b`:                        "s:1:9: a blank must follow",
		`echo "\q"`:                        "s:1:7: an unknown escape",
		`echo "\x4"`:                       "unknown escape",
		`echo "\`:                          "unknown escape",
		"mkdir-p":                          "s:1:1: 0 arguments for mkdir-p: write mkdir-p PATH",
		"rm-rf /a /b":                      "s:1:10: 2 arguments for rm-rf",
		"cat /a > /b":                      "pipe into a shell",
		"mkdir a":                          `s:1:7: mkdir: "a" is no path in the guest`,
		"mount sda1 /":                     "is no device",
		"chmod u+x /a":                     `"u+x" is no whole number`,
		"chmod 0999 /a":                    "is no whole number",
		"glob":                             "glob needs a command",
		"glob bogus /a":                    `s:1:6: unknown command "bogus"`,
		"copy-in /a":                       "write copy-in LOCAL-FILE-TO-READ… PATH",
		"umount / fast:true":               "2 arguments for umount",
		"@Two@":                            `unknown command "one"`,
		"echo @Two@":                       `unknown command "two"`,
		"upload -<<A /a -<<A\nA\nA\n":      "3 arguments",
		"@Fail@":                           `s:1:1: unknown command "Fail_OS_Deployment"`,
		"echo " + strings.Repeat("a ", 64): "more than 63 arguments",
		"echo \x00":                        "zero byte",
		"!echo @Root@":                     "",
		"echo @Root@ '":                    "s:1:6: the double quote has no end",
		"write /a '@Root@'":                "",
		"echo \"@Root@\"":                  "a blank must follow",
	} {
		_, err := parse(t, script, Options{})
		if want == "" {
			require.NoError(t, err, "%s", script)
			continue
		}
		require.ErrorContains(t, err, want, "%s", script)
		require.ErrorIs(t, err, attribute.ErrInvalid)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

func TestProblemsOfLinesThatMayFail(t *testing.T) {
	p, err := parse(t, "-bogus\n-mkdir\necho a", Options{})
	require.NoError(t, err)
	require.Len(t, p.Commands, 1)
	require.Len(t, p.Warnings, 2)
	require.True(t, p.Warnings[0].Ignored)
}

func TestDraft(t *testing.T) {
	draft := Options{Draft: true}
	for _, script := range []string{"@Fail@", "@Unset@", "@Unset:Fail@ x", "mkdir @Unset@", "mount @Unset:x@ /", "chmod @Unset:mode@ /a"} {
		_, err := parse(t, script, draft)
		require.NoError(t, err, "%s", script)
	}
	_, err := parse(t, "bogus @Unset@\nmkdir", draft)
	require.ErrorContains(t, err, "s:1:1")
	require.ErrorContains(t, err, "s:2:1", "what is no value is judged")
}

func TestSecretsAreMasked(t *testing.T) {
	p, err := parse(t, "write /a '@Root@'\n!echo '@Root@' > ./x\nupload -<<E /b\npass=@Root@\nE\ncat /a | grep '@Root@'", Options{})
	require.NoError(t, err)
	require.Equal(t, `s3cret "x`, p.Commands[0].Args()[1])
	type holder struct{ c Command }
	encoded, err := json.Marshal(p)
	require.NoError(t, err)
	for _, c := range p.Commands {
		for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %q %x", c, c, c, c, c, c), fmt.Sprintf("%v %+v %#v", holder{c}, holder{c}, &holder{c}), fmt.Sprintf("%+v", p), c.ShownHeredoc(), string(encoded)} {
			require.NotContains(t, shown, "s3cret")
		}
	}
	require.Equal(t, "pass="+attribute.Mask+"\n", p.Commands[2].ShownHeredoc())
	require.Contains(t, string(encoded), `"line":"write /a '********'"`)
}

// TestEveryCommand checks the table itself: each command with as many
// arguments as it takes, with one less, and with one more.
func TestEveryCommand(t *testing.T) {
	published := strings.Fields(`echo upload download mkdir-p rm-f cat rm-rf mount list-filesystems chmod umount unmount
		vgs lvs copy-out copy-in command statvfs mkdir list-devices list-partitions touch rm ls version inspect-os
		unmount-all ln-s ln-f compress-out cp-a cp write-append vgrename mv inspect-get-distro inspect-get-osinfo
		cp-r ln ln-sf write is-file is-dir exists stat du df find ll head tail grep file-architecture tar-in tar-out
		tgz-in tgz-out setenv mount-ro mount-options mounts vfs-type vfs-uuid vfs-label blkid part-list
		part-get-parttype chown sh command-lines sync umount-all download-offset help quit exit`)
	known := Known()
	for _, name := range published {
		require.NotNil(t, known.Find(name), "%s", name)
	}
	sample := map[Param]string{Path: "/a", Device: "/dev/sda", Mountable: "/dev/sda1", Target: "/", Text: "t", Integer: "0644", Words: "'ls /'", LocalIn: "./a", LocalOut: "./a", LocalDir: "."}
	for _, name := range known.Names() {
		spec := known[name]
		var words []string
		for i, p := range spec.Params {
			if i == spec.Repeat && spec.AtLeast == 0 {
				continue
			}
			words = append(words, sample[p])
		}
		line := strings.TrimSpace(name + " " + strings.Join(words, " "))
		require.Equal(t, spec, one(t, line).Spec, "%s", line)
		if len(words) > 0 {
			_, err := parse(t, name+" "+strings.Join(words[1:], " "), Options{})
			require.Error(t, err, "%s with an argument less", name)
		}
		_, err := parse(t, line+" t", Options{})
		if spec.Repeat < 0 {
			require.Error(t, err, "%s with an argument more", name)
		}
		require.Contains(t, spec.Usage(), spec.Name)
	}
}

func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, script string, draft, generated bool) {
		e, err := attribute.Expand(script, values)
		if err != nil {
			return
		}
		p, err := Parse("s", e, Options{Draft: draft, Generated: generated})
		lines := 1 + strings.Count(script, "\n")
		for _, c := range p.Commands {
			require.True(t, c.Position.Line >= 1 && c.Position.Line <= lines && c.Position.Column >= 1)
			require.NotEmpty(t, c.String())
			if !draft {
				require.True(t, c.Kind != Guest || c.Spec != nil)
			}
			if text, ok := c.Heredoc(); ok {
				require.Contains(t, e.Reveal(), text)
			}
			if !strings.Contains(script, "s3cret") {
				require.NotContains(t, c.String()+c.ShownHeredoc(), "s3cret")
			}
		}
		if err != nil && !strings.Contains(script, "s3cret") {
			require.NotContains(t, err.Error(), "s3cret")
			require.ErrorIs(t, err, attribute.ErrInvalid)
		}
	})
}

// TestPrefixes reads words before a command, in any order, each once.
func TestPrefixes(t *testing.T) {
	p, err := parse(t, "time rm /x\ntime glob rm /x*\nGLOB time rm /x*\nlcd ./d", Options{})
	require.NoError(t, err)
	var got []string
	for _, c := range p.Commands {
		got = append(got, fmt.Sprintf("%s %v %v %q", c.Name(), c.Timed, c.Glob, c.Args()))
	}
	require.Equal(t, []string{`rm true false ["/x"]`, `rm true true ["/x*"]`, `rm true true ["/x*"]`, `lcd false false ["./d"]`}, got)
	for _, bad := range []string{"time", "time time rm /x", "glob", "time !ls"} {
		_, err := parse(t, bad, Options{})
		require.Error(t, err, bad)
	}
}
