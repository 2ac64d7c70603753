package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"goldstream/blockstore"
)

func TestInterspersed(t *testing.T) {
	app := newApp(streams{strings.NewReader(""), io.Discard, io.Discard})
	for in, want := range map[string]string{
		"goldstream":            "goldstream",
		"goldstream image list": "goldstream image list",
		"goldstream volume create web-1 --image debian":        "goldstream volume create --image debian -- web-1",
		"goldstream volume create --image debian web-1":        "goldstream volume create --image debian -- web-1",
		"goldstream volume create web-1 --image=debian --json": "goldstream volume create --image=debian --json -- web-1",
		"goldstream --data /d volume --json create web-1":      "goldstream volume create --data /d --json -- web-1",
		"goldstream --json image import x - --owner me":        "goldstream image import --json --owner me -- x -",
		"goldstream image import -- -x --json":                 "goldstream image import -- -x --json",
		"goldstream image import image import":                 "goldstream image import -- image import",
		"goldstream image import x --owner --json y":           "goldstream image import --owner --json -- x y",
		"goldstream image inspect --bogus x":                   "goldstream image inspect --bogus -- x",
		"goldstream image bogus x":                             "goldstream image bogus x",
		"goldstream help image":                                "goldstream help image",
		"goldstream image import x y --owner":                  "goldstream image import --owner",
		"goldstream image inspect --owner":                     "goldstream image inspect --owner",
		"goldstream serve --nbd a --nbd b":                     "goldstream serve --nbd a --nbd b",
		"goldstream volume create x --image " + completionFlag: "goldstream volume create x --image " + completionFlag,
	} {
		assert.Equal(t, want, strings.Join(interspersed(app, strings.Fields(in)), " "), in)
	}
}

func TestWantsJSON(t *testing.T) {
	app := newApp(streams{strings.NewReader(""), io.Discard, io.Discard})
	for in, want := range map[string]bool{
		"goldstream": false, "": false, "goldstream --json": true, "goldstream image list -json": true,
		"goldstream volume --json=1": true, "goldstream volume --json=false": false, "goldstream image import -- --json": false,
		"goldstream image import x y --owner --json": false, "goldstream image import x y --owner me --json": true,
	} {
		assert.Equal(t, want, wantsJSON(app, strings.Fields(in)), in)
	}
}

// TestJSONMeter: progress with --json is a JSON document a line.
func TestJSONMeter(t *testing.T) {
	var out strings.Builder
	m := newMeter(jsonLines{&out}, "import x")
	m.shown = time.Time{}
	m.show(blockstore.Progress{Stage: "read", Done: 1, Total: 2})
	m.done()
	var line map[string]map[string]any
	assert.NoError(t, json.Unmarshal([]byte(out.String()), &line), out.String())
	assert.Contains(t, line, "progress")
}

func TestCompletion(t *testing.T) {
	h := newHouse(t)
	complete := func(line string) []string {
		return strings.Fields(h.must(append(strings.Fields(line), completionFlag)...))
	}
	assert.Subset(t, complete(""), []string{"serve", "image", "volume"})
	assert.Subset(t, complete("image"), []string{"import", "capture"})
	assert.NotContains(t, complete("image"), "h")
	assert.NotContains(t, complete(""), "h")
	assert.Subset(t, complete("volume create -"), []string{"--image", "--size", "--data"})
	assert.Equal(t, []string{"bash", "zsh"}, complete("completion"))
	assert.Empty(t, complete("volume inspect"), "no daemon, no names")
	h.must("volume", "create", "web-1", "--size", "1MiB")
	h.must("snapshot", "create", "web-1", "s1")
	h.must("snapshot", "create", "web-1", "s2")
	for _, name := range []string{"gone", "twice", "twice"} {
		h.must("volume", "create", name, "--size", "1MiB")
		h.must("volume", "delete", name, "--keep", "1h")
	}
	s := h.serve()
	assert.Equal(t, []string{"web-1"}, complete("volume inspect"))
	assert.Equal(t, []string{"web-1"}, complete("volume rollback"))
	assert.Equal(t, []string{"s1", "s2"}, complete("volume rollback web-1"))
	assert.Equal(t, []string{"s1", "s2"}, complete("snapshot export web-1"))
	assert.Empty(t, complete("snapshot export web-1 s1"), "a file")
	assert.Empty(t, complete("snapshot delete web-2"))
	retired := complete("volume restore")
	require.Len(t, retired, 3)
	assert.Subset(t, retired, []string{"gone"})
	assert.NotContains(t, retired, "twice", "several are named by their ids")
	assert.Equal(t, []string{"web-1"}, complete("image capture x --volume"))
	assert.Equal(t, []string{"web-1"}, complete("image capture --volume"))
	assert.Equal(t, []string{"raw", "zstd"}, complete("image export x y --format"))
	h.must("volume", "create", "web 2", "--size", "1MiB")
	script := `PATH=$(dirname "$0"):$PATH
source <(goldstream completion bash)
COMP_WORDS=(goldstream volume inspect 'web\ ') COMP_CWORD=3
_goldstream
echo "${COMPREPLY[@]}"`
	bash := h.command()
	bash.Path, bash.Args = "/bin/bash", []string{"bash", "-c", script, program}
	out, err := bash.Output()
	assert.NoError(t, err)
	assert.Equal(t, "web\\ 2\n", string(out))
	s.stop()
}

// TestCompletionInBash lets bash run the script.
func TestCompletionInBash(t *testing.T) {
	script := `PATH=$(dirname "$0"):$PATH
source <(goldstream completion bash)
for word in --si -- im; do
  COMP_WORDS=(goldstream image import $word) COMP_CWORD=3
  [[ $word == im ]] && COMP_WORDS=(goldstream image im) COMP_CWORD=2
  [[ $word == --si ]] && COMP_WORDS=(goldstream volume create $word)
  _goldstream
  echo "${COMPREPLY[@]}"
done`
	assert.Equal(t, "--size\n--owner --request-id --data --json --server --ca --token-file --help\nimport\n", tool(t, "bash", "-c", script, program))
}

func FuzzInterspersed(f *testing.F) {
	f.Add("volume create web-1 --image debian")
	f.Add("--data /d image import - -- --json")
	f.Fuzz(func(t *testing.T, line string) {
		app := newApp(streams{strings.NewReader(""), io.Discard, io.Discard})
		words := append([]string{"goldstream"}, strings.Fields(line)...)
		got := interspersed(app, words)
		// Nothing is lost or made up, but for the "--" that goes or comes.
		assert.InDelta(t, len(words), len(got), 1, "%q", got)
	})
}
