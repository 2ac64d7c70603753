package step

import (
	"context"
	"errors"
	"io/fs"
	"reflect"
	"strings"

	"goldstream/personalize/attribute"
)

// Step is one of the fields. Text in it may have placeholders, which
// [Step.Plan] gets replaced.
type Step struct {
	File      *File    `json:"file,omitempty" yaml:"file,omitempty"`
	Hostname  string   `json:"hostname,omitempty" yaml:"hostname,omitempty"`
	SSHKeys   *SSHKeys `json:"sshKeys,omitempty" yaml:"sshKeys,omitempty"`
	MachineID bool     `json:"newMachineId,omitempty" yaml:"newMachineId,omitempty"`
	NoCloud   *NoCloud `json:"noCloud,omitempty" yaml:"noCloud,omitempty"`
	Network   *Network `json:"network,omitempty" yaml:"network,omitempty"`

	Group      *Group      `json:"group,omitempty" yaml:"group,omitempty"`
	User       *User       `json:"user,omitempty" yaml:"user,omitempty"`
	Fstab      *Fstab      `json:"fstab,omitempty" yaml:"fstab,omitempty"`
	HostKeys   *HostKeys   `json:"hostKeys,omitempty" yaml:"hostKeys,omitempty"`
	Generalize *Generalize `json:"generalize,omitempty" yaml:"generalize,omitempty"`
	GrowRoot   bool        `json:"growRoot,omitempty" yaml:"growRoot,omitempty"`
}

// File is a file with contents.
type File struct {
	Path    string `json:"path" yaml:"path"`
	Content string `json:"content" yaml:"content"`
	Mode    uint32 `json:"mode,omitempty" yaml:"mode,omitempty"` // 0: 0644, and an existing file keeps its own
	UID     int    `json:"uid,omitempty" yaml:"uid,omitempty"`
	GID     int    `json:"gid,omitempty" yaml:"gid,omitempty"`
}

// Plan returns what has to be done. values stand for placeholders. Error:
// attribute.ErrInvalid, or that of the tree.
func (s Step) Plan(ctx context.Context, tree Files, values attribute.Lookup) ([]Op, error) {
	if _, err := s.Kind(); err != nil {
		return nil, err
	}
	x := expander{values: values}
	switch {
	case s.Hostname != "":
		return planHostname(ctx, tree, &x, s.Hostname)
	case s.MachineID:
		return planMachineID(ctx, tree)
	case s.GrowRoot:
		return planGrow(tree)
	}
	return s.planner().plan(ctx, tree, &x)
}

// planner is one kind of step.
type planner interface {
	plan(ctx context.Context, tree Files, x *expander) ([]Op, error)
}

// checker is one that knows without a disk and without values what is wrong.
type checker interface{ check() error }

// planner is the field that is set: each pointer in Step is a kind.
func (s Step) planner() planner {
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			return f.Interface().(planner)
		}
	}
	return nil
}

// expander replaces placeholders. A name that is unknown is an error: there is
// no shell here whose text it could be.
type expander struct{ values attribute.Lookup }

func (x *expander) text(in string) (string, error) {
	e, err := attribute.Expand(in, x.values)
	if err != nil {
		return "", err
	}
	if unknown := e.Unknown(); len(unknown) > 0 {
		return "", undeclared(unknown[0])
	}
	return e.Reveal(), nil
}

func undeclared(p attribute.Placeholder) error {
	return attribute.Invalid("the build plan declares no attribute %q: declare it, or write @@ where @ itself is meant", p.Full())
}

func (f *File) check() error {
	if strings.Contains(f.Path, "@") {
		return nil
	}
	return checkPath(f.Path)
}

func (f *File) plan(ctx context.Context, tree Files, x *expander) ([]Op, error) {
	path, err := x.text(f.Path)
	if err != nil {
		return nil, err
	}
	content, err := x.text(f.Content)
	if err != nil {
		return nil, err
	}
	w := want{path: path, data: []byte(content), mode: fs.FileMode(f.Mode), uid: f.UID, gid: f.GID, enforce: f.Mode != 0}
	if f.Mode == 0 {
		w.mode = 0o644
	}
	if f.Mode > 0o7777 || f.UID < 0 || f.GID < 0 {
		return nil, attribute.Invalid("mode %o, uid %d and gid %d of %s are out of range", f.Mode, f.UID, f.GID, path)
	}
	return w.plan(ctx, tree)
}

// planHostname sets /etc/hostname, and the name in /etc/hosts where the old one
// stands.
func planHostname(ctx context.Context, tree Files, x *expander, name string) ([]Op, error) {
	name, err := x.text(name)
	if err != nil {
		return nil, err
	}
	if name, err = attribute.NewDefinition("hostname", attribute.Hostname, "").Normal(name); err != nil {
		return nil, err
	}
	ops, err := want{path: "/etc/hostname", data: []byte(name + "\n"), mode: 0o644}.plan(ctx, tree)
	if err != nil {
		return nil, err
	}
	old, err := read(ctx, tree, "/etc/hostname")
	if err != nil {
		return nil, err
	}
	hosts, err := read(ctx, tree, "/etc/hosts")
	if err != nil || hosts == "" {
		return ops, err
	}
	more, err := want{path: "/etc/hosts", data: []byte(rename(hosts, strings.TrimSpace(old), name)), mode: 0o644}.plan(ctx, tree)
	return append(ops, more...), err
}

// rename puts the new name in the place of the old one on lines of 127.0.0.0/8
// and ::1.
func rename(hosts, old, name string) string {
	if old == "" || old == name || old == "localhost" {
		return hosts
	}
	oldShort, _, _ := strings.Cut(old, ".")
	short, _, _ := strings.Cut(name, ".")
	var out strings.Builder
	for line := range strings.Lines(hosts) {
		words := strings.Fields(line)
		if len(words) > 1 && (strings.HasPrefix(words[0], "127.") || words[0] == "::1") {
			line = replaceWords(line, map[string]string{old: name, oldShort: short})
		}
		out.WriteString(line)
	}
	return out.String()
}

// replaceWords keeps the blanks between words.
func replaceWords(line string, to map[string]string) string {
	var out strings.Builder
	for len(line) > 0 {
		n := strings.IndexAny(line, " \t\n")
		if n < 0 {
			n = len(line)
		}
		word := line[:n]
		if w, ok := to[word]; ok && word != "" {
			word = w
		}
		out.WriteString(word)
		if n < len(line) {
			out.WriteByte(line[n])
			n++
		}
		line = line[n:]
	}
	return out.String()
}

// planMachineID has systemd make an identity at the next boot. What D-Bus has
// of the old one goes: a copy, or a link that the boot makes again. A disk that waits
// for its very first boot has no identity yet, and goes on to wait for it.
func planMachineID(ctx context.Context, tree Files) ([]Op, error) {
	const file = "/etc/machine-id"
	id, err := read(ctx, tree, file)
	if err != nil {
		return nil, err
	}
	var ops []Op
	if strings.TrimSpace(id) != "uninitialized" {
		if ops, err = (want{path: file, mode: 0o444}).plan(ctx, tree); err != nil {
			return nil, err
		}
	}
	const copied = "/var/lib/dbus/machine-id"
	old, err := read(ctx, tree, copied)
	if err != nil || old == "" {
		return ops, err
	}
	return append(ops, Op{Path: copied, Remove: true}), nil
}

// read is "" for what is not there.
func read(ctx context.Context, tree Files, path string) (string, error) {
	b, err := tree.Read(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}
