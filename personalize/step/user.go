package step

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"goldstream/personalize/attribute"
)

// Group makes a group that is missing.
type Group struct {
	Name   string `json:"name" yaml:"name"`
	GID    *int   `json:"gid,omitempty" yaml:"gid,omitempty"` // nil: one that is free
	System bool   `json:"system,omitempty" yaml:"system,omitempty"`
}

// User makes an account, or changes one. What is empty stays as it is, or is chosen
// as useradd(8) does for a new one.
type User struct {
	Name    string   `json:"name" yaml:"name"`
	UID     *int     `json:"uid,omitempty" yaml:"uid,omitempty"`
	System  bool     `json:"system,omitempty" yaml:"system,omitempty"` // a new one has a number below 1000
	Group   string   `json:"group,omitempty" yaml:"group,omitempty"`   // primary; a new user has one of its own
	Groups  []string `json:"groups,omitempty" yaml:"groups,omitempty"` // joined; others stay
	Comment string   `json:"comment,omitempty" yaml:"comment,omitempty"`
	Home    string   `json:"home,omitempty" yaml:"home,omitempty"`
	Shell   string   `json:"shell,omitempty" yaml:"shell,omitempty"`

	// One of these. A new user without them logs in by key alone.

	Password     string `json:"password,omitempty" yaml:"password,omitempty"`         // in clear
	PasswordHash string `json:"passwordHash,omitempty" yaml:"passwordHash,omitempty"` // of crypt(5)
	NoPassword   bool   `json:"noPassword,omitempty" yaml:"noPassword,omitempty"`     // takes one away

	Keys string `json:"sshKeys,omitempty" yaml:"sshKeys,omitempty"` // public ones, one a line; added
	Sudo string `json:"sudo,omitempty" yaml:"sudo,omitempty"`       // password or nopasswd
}

func (g *Group) plan(ctx context.Context, tree Files, x *expander) ([]Op, error) {
	name, err := x.text(g.Name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkName("group", name), checkID(g.GID)); err != nil {
		return nil, err
	}
	a, err := readAccounts(ctx, tree)
	if err != nil {
		return nil, err
	}
	if a.group.find(name) != nil {
		id, err := a.groupID(name)
		if err == nil && g.GID != nil && *g.GID != id {
			err = attribute.Invalid("the group %.64q has the number %d on the disk: its files would be nobody's with %d", name, id, *g.GID)
		}
		return nil, err
	}
	id, err := chosenID(a, g.GID, g.System)
	if err != nil {
		return nil, err
	}
	if err := a.addGroup(name, id); err != nil {
		return nil, err
	}
	return a.plan(ctx, tree)
}

func checkID(id *int) error {
	if id != nil && (*id < 0 || *id >= maxID) {
		return attribute.Invalid("%d is no number of an account", *id)
	}
	return nil
}

func chosenID(a *accounts, id *int, system bool) (int, error) {
	if id != nil {
		return *id, nil
	}
	return a.freeID(system)
}

func (u *User) plan(ctx context.Context, tree Files, x *expander) ([]Op, error) {
	v, err := u.expanded(x)
	if err != nil {
		return nil, err
	}
	a, err := readAccounts(ctx, tree)
	if err != nil {
		return nil, err
	}
	fresh := a.passwd.find(v.Name) == nil
	row, gid, err := v.row(a)
	if err != nil {
		return nil, err
	}
	a.passwd.put(row)
	for _, group := range v.Groups {
		if err := a.join(v.Name, group); err != nil {
			return nil, err
		}
	}
	if err := v.setPassword(a.shadow); err != nil {
		return nil, err
	}
	ops, err := a.plan(ctx, tree)
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(row[2]) // row has seen it
	steps := []func() ([]Op, error){
		func() ([]Op, error) { return homeOps(ctx, tree, row[5], uid, gid, fresh || v.Home != "") },
		func() ([]Op, error) { return addKeys(ctx, tree, row[5], uid, gid, v.Keys) },
		func() ([]Op, error) { return v.sudoOps(ctx, tree) },
	}
	for _, plan := range steps {
		more, err := plan()
		if err != nil {
			return nil, err
		}
		ops = append(ops, more...)
	}
	return ops, nil
}

func (u *User) check() error {
	ways := 0
	for _, set := range []bool{u.Password != "", u.PasswordHash != "", u.NoPassword} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		return attribute.Invalid("user %.64q: say one of password, passwordHash and noPassword", u.Name)
	}
	return nil
}

// expanded is the user with values in its texts, checked.
func (u *User) expanded(x *expander) (User, error) {
	v := *u
	v.Groups = append([]string(nil), u.Groups...)
	texts := []*string{&v.Name, &v.Group, &v.Comment, &v.Home, &v.Shell, &v.Password, &v.PasswordHash, &v.Keys, &v.Sudo}
	for i := range v.Groups {
		texts = append(texts, &v.Groups[i])
	}
	for _, text := range texts {
		var err error
		if *text, err = x.text(*text); err != nil {
			return v, err
		}
	}
	if err := u.check(); err != nil {
		return v, err
	}
	switch {
	case u.Password != "" && v.Password == "":
		return v, attribute.Invalid("the password of user %.64q is empty", v.Name)
	case u.PasswordHash != "" && !cryptHash.MatchString(v.PasswordHash):
		return v, attribute.Invalid("passwordHash of user %.64q is none of crypt(5), such as 'openssl passwd -6' prints", v.Name)
	case v.Sudo != "" && v.Sudo != "password" && v.Sudo != "nopasswd":
		return v, attribute.Invalid("sudo of user %.64q is neither password nor nopasswd", v.Name)
	}
	for _, dir := range []string{v.Home, v.Shell} {
		if dir != "" && checkPath(dir) != nil {
			return v, attribute.Invalid("home or shell of user %.64q is %.200q: write a path that begins with /", v.Name, dir)
		}
	}
	return v, errors.Join(checkName("user", v.Name), checkID(v.UID), checkColumn("comment", v.Comment), checkColumn("home", v.Home), checkColumn("shell", v.Shell))
}

// row is the line of passwd as it shall be. A primary group is made where a new user
// needs one.
func (u *User) row(a *accounts) (row []string, gid int, err error) {
	row = a.passwd.find(u.Name)
	if row == nil {
		if row, err = u.newRow(a); err != nil {
			return nil, 0, err
		}
	}
	uid, uidErr := strconv.Atoi(row[2])
	if gid, err = strconv.Atoi(row[3]); err != nil || uidErr != nil || uid < 0 || gid < 0 || checkPath(row[5]) != nil && row[5] != "/" {
		return nil, 0, attribute.Invalid("the account of user %.64q on the disk is damaged: %.200q", u.Name, strings.Join(row, ":"))
	}
	if u.UID != nil && *u.UID != uid {
		return nil, 0, attribute.Invalid("user %.64q has the number %d on the disk: its files would be nobody's with %d", u.Name, uid, *u.UID)
	}
	if u.Group != "" {
		if gid, err = a.groupID(u.Group); err != nil {
			return nil, 0, err
		}
	}
	row[3] = strconv.Itoa(gid)
	for column, text := range map[int]string{4: u.Comment, 5: u.Home, 6: u.Shell} {
		if text != "" {
			row[column] = text
		}
	}
	return row, gid, nil
}

func (u *User) newRow(a *accounts) ([]string, error) {
	uid, err := chosenID(a, u.UID, u.System)
	if err != nil {
		return nil, err
	}
	if other := a.passwd.ids(2)[uid]; other != "" {
		return nil, attribute.Invalid("user %.64q cannot have the number %d: %.64q has it", u.Name, uid, other)
	}
	group := u.Group
	if group == "" {
		group = u.Name
		if a.group.find(group) == nil {
			if err := u.ownGroup(a, uid); err != nil {
				return nil, err
			}
		}
	}
	gid, err := a.groupID(group)
	return []string{u.Name, "x", strconv.Itoa(uid), strconv.Itoa(gid), "", "/home/" + u.Name, "/bin/sh"}, err
}

// ownGroup has the user's number where that is free.
func (u *User) ownGroup(a *accounts, uid int) error {
	id := uid
	if a.group.ids(2)[id] != "" {
		var err error
		if id, err = a.freeID(u.System); err != nil {
			return err
		}
	}
	return a.addGroup(u.Name, id)
}

// setPassword leaves a password alone that is the one asked for: salts are random.
func (u *User) setPassword(shadow *accountFile) error {
	row := shadow.find(u.Name)
	fresh := row == nil
	if fresh {
		row = []string{u.Name, "*", "", "0", "99999", "7", "", "", ""}
	}
	hash := row[1]
	switch {
	case u.PasswordHash != "":
		hash = u.PasswordHash
	case u.NoPassword:
		hash = "*"
	case u.Password != "" && !isPassword(u.Password, hash):
		var err error
		if hash, err = hashPassword(u.Password); err != nil {
			return err
		}
	}
	if hash != row[1] {
		row[1] = hash
		row[2] = strconv.FormatInt(time.Now().Unix()/(24*60*60), 10) // else it may be too old at once
	} else if !fresh {
		return nil
	}
	shadow.put(row)
	return nil
}

// homeOps makes a home that is missing, with the files that new users get.
func homeOps(ctx context.Context, tree Files, home string, uid, gid int, wanted bool) ([]Op, error) {
	if !wanted {
		return nil, nil
	}
	if _, err := tree.Stat(ctx, home); !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ops := []Op{{Path: home, Make: true, Dir: true, Set: true, Mode: 0o700, UID: uid, GID: gid}}
	names, err := tree.List(ctx, "/etc/skel")
	if errors.Is(err, fs.ErrNotExist) {
		return ops, nil
	}
	if err != nil {
		return nil, err
	}
	if len(names) > maxSkel {
		return nil, attribute.Invalid("/etc/skel of the disk has more than %d files", maxSkel)
	}
	for _, name := range names {
		from := path.Join("/etc/skel", name)
		info, err := tree.Stat(ctx, from)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode.IsRegular() {
			continue
		}
		if err != nil {
			return nil, err
		}
		data, err := tree.Read(ctx, from)
		if err != nil {
			return nil, err
		}
		ops = append(ops, Op{Path: path.Join(home, name), Make: true, Data: data, Set: true, Mode: info.Mode.Perm(), UID: uid, GID: gid})
	}
	return ops, nil
}

const maxSkel = 100

// sudoOps lets the user become root.
func (u *User) sudoOps(ctx context.Context, tree Files) ([]Op, error) {
	if u.Sudo == "" {
		return nil, nil
	}
	sudoers, err := read(ctx, tree, "/etc/sudoers")
	if err != nil {
		return nil, err
	}
	if !strings.Contains(sudoers, "includedir /etc/sudoers.d") {
		return nil, attribute.Invalid("the disk has no /etc/sudoers that reads /etc/sudoers.d: install sudo in the image")
	}
	rule := u.Name + " ALL=(ALL:ALL) "
	if u.Sudo == "nopasswd" {
		rule += "NOPASSWD: "
	}
	// sudo skips names with a dot.
	file := "/etc/sudoers.d/goldstream-" + strings.ReplaceAll(u.Name, ".", "%2E")
	return want{path: file, data: lines(rule + "ALL"), mode: 0o440, enforce: true}.plan(ctx, tree)
}
