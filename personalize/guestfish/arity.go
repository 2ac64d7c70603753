package guestfish

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// check looks at the arguments of a command. options is how many of them, at
// the end, are NAME:VALUE.
func (s *Spec) check(words []word) (options int, bad *fault) {
	options = s.options(len(words), func(i int) string { return words[i].text })
	n := len(words) - options
	if n < s.least() || s.Repeat < 0 && n > len(s.Params) {
		at := -1 // the command itself
		if n > len(s.Params) {
			at = words[len(s.Params)].start
		}
		return 0, &fault{at, fmt.Sprintf("%d arguments for %s: write %s%s", n, s.Name, s.Usage(), redirection(words))}
	}
	for i, w := range words[:n] {
		if text := s.Param(i, n).check(w); text != "" {
			return 0, &fault{w.start, fmt.Sprintf("%s: %s", s.Name, text)}
		}
	}
	return options, nil
}

// options is how many arguments, at the end, are NAME:VALUE.
func (s *Spec) options(n int, arg func(int) string) (options int) {
	for ; n > s.least() && options < len(s.Options); n-- {
		name, _, ok := strings.Cut(arg(n-1), ":")
		if !ok || !slices.Contains(s.Options, name) {
			break
		}
		options++
	}
	return options
}

// Split parts the arguments of a command that was read from its options.
func (s *Spec) Split(args []string) (plain []string, options map[string]string) {
	n := len(args) - s.options(len(args), func(i int) string { return args[i] })
	options = map[string]string{}
	for _, arg := range args[n:] {
		name, value, _ := strings.Cut(arg, ":")
		options[name] = value
	}
	return args[:n], options
}

func (s *Spec) least() int {
	if s.Repeat >= 0 {
		return len(s.Params) - 1 + s.AtLeast
	}
	return len(s.Params)
}

func redirection(words []word) string {
	if slices.ContainsFunc(words, func(w word) bool { return w.text == ">" || w.text == ">>" }) {
		return "; there is no redirection here, pipe into a shell: COMMAND | cat > ./FILE"
	}
	return ""
}

// check says what is wrong with an argument, or "".
func (p Param) check(w word) string {
	text := w.text
	switch p {
	case Integer:
		if _, err := strconv.ParseInt(text, 0, 64); err != nil {
			return w.shown(64) + " is no whole number"
		}
	case Path:
		if !strings.HasPrefix(text, "/") {
			return w.shown(200) + " is no path in the guest: it must begin with /"
		}
	case Mountable, Device:
		if !strings.HasPrefix(text, "/dev/") && !strings.HasPrefix(text, "btrfsvol:/dev/") {
			return w.shown(200) + " is no device: it must begin with /dev/"
		}
	case LocalIn, LocalOut, LocalDir:
		if text == "" {
			return "the name of the local file is empty"
		}
	}
	if strings.IndexByte(text, 0) >= 0 {
		return "the argument has a zero byte"
	}
	return ""
}
