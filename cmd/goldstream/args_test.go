package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
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
		"goldstream image inspect --owner":                     "goldstream image inspect --owner",
		"goldstream serve --nbd a --nbd b":                     "goldstream serve --nbd a --nbd b",
		"goldstream volume create x --image " + completionFlag: "goldstream volume create x --image " + completionFlag,
	} {
		assert.Equal(t, want, strings.Join(interspersed(app, strings.Fields(in)), " "), in)
	}
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
