package inspect

import (
	"path"
	"slices"
	"strings"
)

// Entry is one way to boot, as the disk's own boot loader has it. All of it is the
// disk's word, in printable ASCII.
type Entry struct {
	Source  string `json:"source"` // the file that says so
	Title   string `json:"title,omitempty"`
	Kernel  string `json:"kernel,omitempty"`  // path as the boot loader sees it
	Options string `json:"options,omitempty"` // the kernel's command line
}

// Limits of what is read of boot loaders' files.
const (
	mostEntries = 64
	mostOptions = 2048 // bytes of a command line: the kernel takes as many
)

// parseBLS reads one file of the Boot Loader Specification.
func parseBLS(text, source string, variables map[string]string) (e Entry, ok bool) {
	e.Source = source
	for line := range strings.Lines(text) {
		key, value, _ := cutSpace(line)
		switch key {
		case "title":
			e.Title = value
		case "linux":
			e.Kernel = value
		case "options":
			e.Options += " " + value
		}
	}
	e.Options = expand(e.Options, variables)
	return tidy(e)
}

// parseGrub reads the entries of a grub.cfg, those of submenus too.
func parseGrub(text, source string, variables map[string]string) (list []Entry) {
	title := ""
	for line := range strings.Lines(text) {
		key, value, _ := cutSpace(line)
		switch key {
		case "menuentry":
			title = quoted(value)
		case "linux", "linux16", "linuxefi":
			kernel, options, _ := cutSpace(value)
			if e, ok := tidy(Entry{Source: source, Title: title, Kernel: kernel, Options: expand(options, variables)}); ok {
				list = append(list, e)
			}
		}
		if len(list) == mostEntries {
			break
		}
	}
	return list
}

// parseExtlinux reads an extlinux.conf or syslinux.cfg; its default entry comes first.
func parseExtlinux(text, source string) (list []Entry) {
	def, at := "", -1
	var labels []string
	for line := range strings.Lines(text) {
		key, value, _ := cutSpace(line)
		switch key = strings.ToLower(key); {
		case key == "default":
			def = value
		case key == "label" && len(list) < mostEntries:
			labels, list, at = append(labels, value), append(list, Entry{Source: source, Title: value}), len(list)
		case at < 0:
		case key == "kernel" || key == "linux":
			list[at].Kernel = value
		case key == "append":
			list[at].Options = value
		case key == "menu":
			if word, title, _ := cutSpace(value); strings.EqualFold(word, "label") {
				list[at].Title = title
			}
		}
	}
	if i := slices.Index(labels, def); i > 0 {
		first := list[i]
		list = slices.Insert(slices.Delete(list, i, i+1), 0, first)
	}
	kept := list[:0]
	for _, e := range list {
		if e, ok := tidy(e); ok {
			kept = append(kept, e)
		}
	}
	return kept
}

// parseGrubenv reads the variables that grub keeps.
func parseGrubenv(text string) map[string]string {
	variables := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "="); ok && !strings.HasPrefix(name, "#") && len(variables) < mostEntries {
			variables[name] = value
		}
	}
	return variables
}

// tidy refuses an entry without a kernel, and one with texts that no boot loader
// means: what is left can go into a command line.
func tidy(e Entry) (Entry, bool) {
	e.Options = strings.Join(strings.Fields(e.Options), " ")
	e.Title = clean(e.Title)
	return e, strings.HasPrefix(e.Kernel, "/") && plainText(e.Kernel, mostName) && plainText(e.Options, mostOptions)
}

// plainText is printable ASCII of a length.
func plainText(s string, most int) bool {
	return len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// expand replaces variables of grub; a word with an unknown one is left out.
func expand(options string, variables map[string]string) string {
	var words []string
	for _, w := range strings.Fields(options) {
		if name, ok := strings.CutPrefix(w, "$"); ok {
			words = append(words, variables[strings.Trim(name, "{}")])
		} else if !strings.Contains(w, "$") {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

// quoted is the first word of a line of grub, which may have quotes.
func quoted(s string) string {
	if s != "" && (s[0] == '\'' || s[0] == '"') {
		text, _, _ := strings.Cut(s[1:], s[:1])
		return text
	}
	word, _, _ := cutSpace(s)
	return strings.TrimSuffix(word, "{")
}

// cutSpace cuts a line behind its first word.
func cutSpace(s string) (word, rest string, found bool) {
	s = strings.TrimSpace(s)
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, "", false
	}
	return s[:i], strings.TrimSpace(s[i:]), true
}

// entryFor picks the entry of a kernel: its own by the kernel's name, else the first
// one, whose options are the system's at least.
func entryFor(entries []Entry, version string) (Entry, bool) {
	for _, e := range entries {
		if name := path.Base(e.Kernel); name == "vmlinuz-"+version || name == version {
			return e, true
		}
	}
	if len(entries) == 0 {
		return Entry{}, false
	}
	return entries[0], true
}

// newer compares versions as people count: 6.1.0-50 is newer than 6.1.0-9.
func newer(a, b string) int {
	for a != "" && b != "" {
		x, restA := run(a)
		y, restB := run(b)
		if isDigit(x[0]) && isDigit(y[0]) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return len(a) - len(b)
}

// run cuts off what is all digits or none.
func run(s string) (first, rest string) {
	i := strings.IndexFunc(s, func(r rune) bool { return isDigit(byte(r)) != isDigit(s[0]) })
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }
