package step

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"goldstream/personalize/attribute"
)

// The files of accounts: passwd(5), shadow(5), group(5), gshadow(5). They are
// changed line by line, as text: what is not understood stays as it is, and nothing
// of the disk is run.

// accountFile is one of them.
type accountFile struct {
	path    string
	columns int
	there   bool
	changed bool
	rows    []string // lines
}

func openAccounts(ctx context.Context, tree Files, path string, columns int) (*accountFile, error) {
	f := &accountFile{path: path, columns: columns}
	text, err := read(ctx, tree, path)
	if err != nil || text == "" {
		return f, err
	}
	f.there = true
	f.rows = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return f, nil
}

// find returns the columns of a name, or nil where it has no line or a damaged one.
func (f *accountFile) find(name string) []string {
	for _, row := range f.rows {
		if c := strings.Split(row, ":"); c[0] == name && len(c) == f.columns {
			return c
		}
	}
	return nil
}

// put sets the line of a name. A new one goes in front of those of NIS, which end
// the search of a system that uses it.
func (f *accountFile) put(columns []string) {
	row := strings.Join(columns, ":")
	at := slices.IndexFunc(f.rows, func(r string) bool { return strings.HasPrefix(r, columns[0]+":") })
	switch {
	case at < 0:
		at = slices.IndexFunc(f.rows, func(r string) bool { return strings.HasPrefix(r, "+") })
		if at < 0 {
			at = len(f.rows)
		}
		f.rows = slices.Insert(f.rows, at, row)
	case f.rows[at] == row:
		return
	default:
		f.rows[at] = row
	}
	f.changed = true
}

// ids are the numbers in a column.
func (f *accountFile) ids(column int) map[int]string {
	ids := map[int]string{}
	for _, row := range f.rows {
		if c := strings.Split(row, ":"); len(c) == f.columns {
			if id, err := strconv.Atoi(c[column]); err == nil {
				ids[id] = c[0]
			}
		}
	}
	return ids
}

func (f *accountFile) plan(ctx context.Context, tree Files) ([]Op, error) {
	if !f.changed {
		return nil, nil
	}
	return want{path: f.path, data: []byte(strings.Join(f.rows, "\n") + "\n"), mode: 0o644}.plan(ctx, tree)
}

// accounts are all four.
type accounts struct {
	passwd, shadow, group, gshadow *accountFile
	limits                         map[string]int // of /etc/login.defs
}

func readAccounts(ctx context.Context, tree Files) (*accounts, error) {
	a := &accounts{limits: map[string]int{"UID_MIN": 1000, "UID_MAX": 60000, "SYS_UID_MIN": 100, "SYS_UID_MAX": 999}}
	for _, f := range []struct {
		to      **accountFile
		path    string
		columns int
		must    bool
	}{
		{&a.passwd, "/etc/passwd", 7, true}, {&a.shadow, "/etc/shadow", 9, true},
		{&a.group, "/etc/group", 4, true}, {&a.gshadow, "/etc/gshadow", 4, false},
	} {
		var err error
		if *f.to, err = openAccounts(ctx, tree, f.path, f.columns); err != nil {
			return nil, err
		}
		if f.must && !(*f.to).there {
			return nil, attribute.Invalid("the disk has no %s, or an empty one: accounts can be made on Linux systems with shadow passwords only", f.path)
		}
	}
	defs, err := read(ctx, tree, "/etc/login.defs")
	for line := range strings.Lines(defs) {
		w := strings.Fields(line)
		if len(w) != 2 || a.limits[w[0]] == 0 {
			continue
		}
		if n, err := strconv.Atoi(w[1]); err == nil && n > 0 && n < maxID {
			a.limits[w[0]] = n
		}
	}
	return a, err
}

func (a *accounts) plan(ctx context.Context, tree Files) (ops []Op, err error) {
	// Groups first: whoever reads in between finds no user without a group.
	for _, f := range []*accountFile{a.group, a.gshadow, a.passwd, a.shadow} {
		more, err := f.plan(ctx, tree)
		if err != nil {
			return nil, err
		}
		ops = append(ops, more...)
	}
	return ops, nil
}

// maxID is the first number that stands for no account: 2^32-1 means none.
const maxID = 1<<32 - 1

// freeID is the lowest number that neither a user nor a group has.
func (a *accounts) freeID(system bool) (int, error) {
	low, high := a.limits["UID_MIN"], a.limits["UID_MAX"]
	if system {
		low, high = a.limits["SYS_UID_MIN"], a.limits["SYS_UID_MAX"]
	}
	users, groups := a.passwd.ids(2), a.group.ids(2)
	for id := low; id <= high; id++ {
		if users[id] == "" && groups[id] == "" {
			return id, nil
		}
	}
	return 0, attribute.Invalid("the disk has no free number for an account from %d to %d: say one", low, high)
}

// groupID finds a group that is there.
func (a *accounts) groupID(name string) (int, error) {
	c := a.group.find(name)
	if c == nil {
		return 0, attribute.Invalid("the disk has no group %.64q: make it with a group step first", name)
	}
	id, err := strconv.Atoi(c[2])
	if err != nil || id < 0 || id >= maxID {
		return 0, attribute.Invalid("the group %.64q on the disk is damaged: %.200q", name, strings.Join(c, ":"))
	}
	return id, nil
}

func (a *accounts) addGroup(name string, id int) error {
	if other := a.group.ids(2)[id]; other != "" {
		return attribute.Invalid("the group %.64q cannot have the number %d: %.64q has it", name, id, other)
	}
	a.group.put([]string{name, "x", strconv.Itoa(id), ""})
	if a.gshadow.there {
		a.gshadow.put([]string{name, "!", "", ""})
	}
	return nil
}

// join makes a user a member.
func (a *accounts) join(user, group string) error {
	if _, err := a.groupID(group); err != nil {
		return err
	}
	for _, f := range []*accountFile{a.group, a.gshadow} {
		c := f.find(group)
		if c == nil {
			continue
		}
		members := strings.FieldsFunc(c[3], func(r rune) bool { return r == ',' })
		if !slices.Contains(members, user) {
			c[3] = strings.Join(append(members, user), ",")
			f.put(c)
		}
	}
	return nil
}

// accountName is what useradd(8) of Debian and RHEL both take, and no number.
var accountName = regexp.MustCompile(`^[a-z_][a-z0-9_.-]{0,30}[$]?$`)

func checkName(what, name string) error {
	if !accountName.MatchString(name) {
		return attribute.Invalid("%.64q is no name of a %s: small letters, digits, _, - and ., at most 32, the first one a letter or _", name, what)
	}
	return nil
}

// checkColumn refuses what would become another column, or another line.
func checkColumn(what, text string) error {
	if strings.ContainsAny(text, ":\n\r\x00") {
		return attribute.Invalid("the %s of an account has a colon or several lines", what)
	}
	return nil
}
