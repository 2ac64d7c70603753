package step

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"goldstream/personalize/attribute"
)

// Fstab adds mounts to /etc/fstab, changes or removes them. Other lines stay as
// they are.
type Fstab struct {
	Mounts []Mount `json:"mounts,omitempty" yaml:"mounts,omitempty"`
	// Remove are directories, or devices of swap, that shall have no line.
	Remove []string `json:"remove,omitempty" yaml:"remove,omitempty"`
}

// Mount is a line of fstab(5). Its directory is made.
type Mount struct {
	Device  string `json:"device" yaml:"device"`
	Dir     string `json:"dir" yaml:"dir"`                             // none for swap
	Type    string `json:"type" yaml:"type"`                           //
	Options string `json:"options,omitempty" yaml:"options,omitempty"` // "": defaults
	Pass    int    `json:"pass,omitempty" yaml:"pass,omitempty"`       // order of fsck; 0: not checked
}

const fstabFile = "/etc/fstab"

func (f *Fstab) check() error {
	if len(f.Mounts)+len(f.Remove) == 0 {
		return attribute.Invalid("an fstab step has neither mounts nor remove")
	}
	return nil
}

func (f *Fstab) plan(ctx context.Context, tree Files, x *expander) ([]Op, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	text, err := read(ctx, tree, fstabFile)
	if err != nil {
		return nil, err
	}
	table := strings.SplitAfter(text, "\n")
	for _, key := range f.Remove {
		if key, err = x.text(key); err != nil {
			return nil, err
		}
		table = slices.DeleteFunc(table, func(line string) bool { return fstabKey(line) == key && key != "" })
	}
	var dirs []Op
	for _, m := range f.Mounts {
		if m, err = m.expanded(x); err != nil {
			return nil, err
		}
		table = m.putIn(table)
		if m.swap() {
			continue
		}
		if _, err := tree.Stat(ctx, m.Dir); errors.Is(err, fs.ErrNotExist) {
			dirs = append(dirs, Op{Path: m.Dir, Make: true, Dir: true, Set: true, Mode: 0o755})
		} else if err != nil {
			return nil, err
		}
	}
	ops, err := want{path: fstabFile, data: []byte(strings.Join(table, "")), mode: 0o644}.plan(ctx, tree)
	return append(ops, dirs...), err
}

func (m Mount) swap() bool { return m.Type == "swap" }

// key is what a line is known by: where it is mounted, or what is swapped to.
func (m Mount) key() string {
	if m.swap() {
		return m.Device
	}
	return m.Dir
}

func (m Mount) expanded(x *expander) (Mount, error) {
	for _, text := range []*string{&m.Device, &m.Dir, &m.Type, &m.Options} {
		var err error
		if *text, err = x.text(*text); err != nil {
			return m, err
		}
	}
	if m.Options == "" {
		m.Options = "defaults"
	}
	swap := m.Dir == "none" || m.Dir == ""
	switch {
	case m.Device == "" || strings.HasPrefix(m.Device, "#"):
		return m, attribute.Invalid("a mount on %.200q has no device: write /dev/…, UUID=… or SERVER:/PATH", m.Dir)
	case m.Pass < 0 || m.Pass > 9:
		return m, attribute.Invalid("pass %d of the mount on %.200q: write 0, 1 or 2", m.Pass, m.Dir)
	case m.swap() && !swap:
		return m, attribute.Invalid("swap on %.200q has the directory %.200q: write none", m.Device, m.Dir)
	case !m.swap() && m.Dir != "/" && checkPath(m.Dir) != nil:
		return m, attribute.Invalid("%.200q is no directory to mount on: begin with /, and leave out . and ..", m.Dir)
	}
	if m.swap() {
		m.Dir = "none"
	}
	for _, word := range []string{m.Type, m.Options} {
		if word == "" || strings.ContainsAny(word, " \t\r\n\x00#") {
			return m, attribute.Invalid("type or options of the mount on %.200q is not one word: %.200q", m.Dir, word)
		}
	}
	if strings.ContainsAny(m.Device, "\r\n\x00") {
		return m, attribute.Invalid("the device of the mount on %.200q has several lines", m.Dir)
	}
	return m, nil
}

// putIn replaces the line of the same key. One that says the same in other blanks
// stays.
func (m Mount) putIn(table []string) []string {
	words := []string{escapeFstab(m.Device), escapeFstab(m.Dir), m.Type, m.Options, "0", strconv.Itoa(m.Pass)}
	line := strings.Join(words, " ") + "\n"
	at := slices.IndexFunc(table, func(l string) bool { return fstabKey(l) == m.key() })
	if at < 0 {
		if n := len(table); n > 0 && table[n-1] != "" && !strings.HasSuffix(table[n-1], "\n") {
			table[n-1] += "\n"
		}
		return append(table, line)
	}
	have := strings.Fields(table[at])
	for len(have) < len(words) {
		have = append(have, []string{3: "defaults", 4: "0", 5: "0"}[len(have)])
	}
	if !slices.Equal(have, words) {
		table[at] = line
	}
	return table
}

// fstabKey is "" for comments and what is damaged.
func fstabKey(line string) string {
	w := strings.Fields(line)
	switch {
	case len(w) < 3 || strings.HasPrefix(w[0], "#"):
		return ""
	case w[2] == "swap":
		return unescapeFstab(w[0])
	}
	return unescapeFstab(w[1])
}

// fstab(5) writes blanks in octal.
var (
	fstabEscape   = strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "#", `\043`)
	fstabUnescape = strings.NewReplacer(`\134`, `\`, `\040`, " ", `\011`, "\t", `\043`, "#")
)

func escapeFstab(s string) string   { return fstabEscape.Replace(s) }
func unescapeFstab(s string) string { return fstabUnescape.Replace(s) }
