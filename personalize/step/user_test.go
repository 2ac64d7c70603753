package step

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/attribute"
)

const hash = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"

// withAccounts is a disk with all files of accounts, and lines that nobody
// understands.
func withAccounts(t *testing.T) *tree {
	d := debian(t, map[string]string{
		"/etc/passwd":       "root:x:0:0:root:/root:/bin/bash\nodd line\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nadmin:x:1000:1000:,,,:/home/admin:/bin/bash\n+::::::\n",
		"/etc/shadow":       "root:$6$old$x:19000:0:99999:7:::\nadmin:!:19000:0:99999:7:::\n",
		"/etc/group":        "root:x:0:\nsudo:x:27:admin\nadmin:x:1000:\ntaken:x:1001:\n",
		"/etc/gshadow":      "root:*::\nsudo:*::admin\nadmin:!::\n",
		"/etc/login.defs":   "# x\nUID_MIN\t1000\nSYS_UID_MIN 200\nUID_MAX nonsense\n",
		"/etc/sudoers":      "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
		"/etc/skel/.bashrc": "# new here\n",
	})
	require.NoError(t, d.Chmod(context.Background(), "/etc/shadow", 0o640))
	require.NoError(t, d.root.MkdirAll("etc/skel/dir", 0o755))
	return d
}

func id(n int) *int { return &n }

func TestUserIsMade(t *testing.T) {
	d := withAccounts(t)
	day := time.Now().Unix() / 86400
	apply(t, d, Step{Group: &Group{Name: "ops", GID: id(500)}}, values(t))
	ops := apply(t, d, Step{User: &User{Name: "deploy.er", Groups: []string{"sudo", "ops"}, Comment: "for @Name@", Shell: "/bin/bash", Password: "@Root@", Keys: key, Sudo: "nopasswd"}}, values(t))
	require.Equal(t, "root:x:0:0:root:/root:/bin/bash\nodd line\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nadmin:x:1000:1000:,,,:/home/admin:/bin/bash\n"+
		"deploy.er:x:1002:1002:for web-1.example.org:/home/deploy.er:/bin/bash\n+::::::\n", d.text(t, "/etc/passwd"), "1001 is a group's")
	require.Equal(t, "root:x:0:\nsudo:x:27:admin,deploy.er\nadmin:x:1000:\ntaken:x:1001:\nops:x:500:deploy.er\ndeploy.er:x:1002:\n", d.text(t, "/etc/group"))
	require.Equal(t, "root:*::\nsudo:*::admin,deploy.er\nadmin:!::\nops:!::deploy.er\ndeploy.er:!::\n", d.text(t, "/etc/gshadow"))
	shadow := strings.Split(strings.TrimSpace(d.text(t, "/etc/shadow")), "\n")
	require.Len(t, shadow, 3)
	require.Equal(t, []string{"root:$6$old$x:19000:0:99999:7:::", "admin:!:19000:0:99999:7:::"}, shadow[:2], "others stay")
	c := strings.Split(shadow[2], ":")
	require.True(t, isPassword("s3cret", c[1]))
	require.False(t, isPassword("s3cret ", c[1]))
	require.Contains(t, []string{fmt.Sprint(day), fmt.Sprint(day + 1)}, c[2])
	require.Equal(t, []string{"0", "99999", "7", "", "", ""}, c[3:])
	require.Equal(t, fs.FileMode(0o640), d.mode(t, "/etc/shadow"))
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", ops, ops, ops), c[1])

	owner := [2]int{1002, 1002}
	for path, mode := range map[string]fs.FileMode{"": 0o700, "/.bashrc": 0o644, "/.ssh": 0o700, "/.ssh/authorized_keys": 0o600} {
		require.Equal(t, mode, d.mode(t, "/home/deploy.er"+path), path)
		require.Equal(t, owner, d.owners["/home/deploy.er"+path], path)
	}
	const sudo = "/etc/sudoers.d/goldstream-deploy%2Eer"
	require.Equal(t, "# written by goldstream\ndeploy.er ALL=(ALL:ALL) NOPASSWD: ALL\n", d.text(t, sudo))
	require.Equal(t, fs.FileMode(0o440), d.mode(t, sudo))

	apply(t, d, Step{User: &User{Name: "backup", System: true, Group: "ops", Home: "/var/backups"}}, values(t))
	require.Contains(t, d.text(t, "/etc/passwd"), "\nbackup:x:200:500::/var/backups:/bin/sh\n")
	require.Contains(t, d.text(t, "/etc/shadow"), "\nbackup:*:", "nobody logs in by a password")
	apply(t, d, Step{Group: &Group{Name: "daemons", System: true}}, values(t))
	require.Contains(t, d.text(t, "/etc/group"), "\ndaemons:x:201:\n", "200 is a user's")
}

func TestUserIsChanged(t *testing.T) {
	d := withAccounts(t)
	apply(t, d, Step{User: &User{Name: "root", PasswordHash: hash}}, values(t))
	apply(t, d, Step{User: &User{Name: "admin", NoPassword: true, Shell: "/bin/zsh", Group: "sudo", UID: id(1000), Sudo: "password"}}, values(t))
	require.Contains(t, d.text(t, "/etc/passwd"), "\nadmin:x:1000:27:,,,:/home/admin:/bin/zsh\n")
	shadow := strings.Split(d.text(t, "/etc/shadow"), "\n")
	require.True(t, strings.HasPrefix(shadow[0], "root:"+hash+":"), shadow[0])
	require.True(t, strings.HasPrefix(shadow[1], "admin:*:"), shadow[1])
	require.True(t, isPassword("Hello world!", hash))
	require.Equal(t, "# written by goldstream\nadmin ALL=(ALL:ALL) ALL\n", d.text(t, "/etc/sudoers.d/goldstream-admin"))
	require.Empty(t, apply(t, d, Step{User: &User{Name: "admin"}}, values(t)), "what is not said stays")
	require.Empty(t, apply(t, d, Step{Group: &Group{Name: "sudo"}}, values(t)))

	bare := withAccounts(t)
	require.NoError(t, bare.Remove(context.Background(), "/etc/gshadow"))
	apply(t, bare, Step{User: &User{Name: "new", Groups: []string{"sudo"}}}, values(t))
	_, err := bare.Stat(context.Background(), "/etc/gshadow")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestWrongUsers(t *testing.T) {
	without := func(path string) *tree {
		d := withAccounts(t)
		require.NoError(t, d.Remove(context.Background(), path))
		return d
	}
	damaged := withAccounts(t)
	require.NoError(t, damaged.Write(context.Background(), "/etc/passwd", []byte("admin:x:-5:0::/home/admin:/bin/sh\nother:x:1:x::/:/bin/sh\n")))
	full := withAccounts(t)
	require.NoError(t, full.Write(context.Background(), "/etc/login.defs", []byte("UID_MIN 1000\nUID_MAX 1001\n")))
	for want, row := range map[string]struct {
		s Step
		d *tree
	}{
		`no name of a user`:         {s: Step{User: &User{Name: "Upper"}}},
		`"a:b" is no name`:          {s: Step{User: &User{Name: "a:b"}}},
		`no name of a group`:        {s: Step{Group: &Group{Name: "1"}}},
		`-1 is no number`:           {s: Step{User: &User{Name: "a", UID: id(-1)}}},
		`4294967295 is no number`:   {s: Step{Group: &Group{Name: "a", GID: id(1<<32 - 1)}}},
		`on the disk: its files`:    {s: Step{User: &User{Name: "admin", UID: id(7)}}},
		`27 on the disk`:            {s: Step{Group: &Group{Name: "sudo", GID: id(7)}}},
		`"admin" has it`:            {s: Step{User: &User{Name: "a", UID: id(1000)}}},
		`"sudo" has it`:             {s: Step{Group: &Group{Name: "a", GID: id(27)}}},
		`no group "none"`:           {s: Step{User: &User{Name: "a", Group: "none"}}},
		`no group "nobody"`:         {s: Step{User: &User{Name: "a", Groups: []string{"nobody"}}}},
		`a colon or several lines`:  {s: Step{User: &User{Name: "a", Comment: "x:0:0"}}},
		`home or shell`:             {s: Step{User: &User{Name: "a", Home: "/home/../etc"}}},
		`say one of password`:       {s: Step{User: &User{Name: "a", Password: "x", NoPassword: true}}},
		`none of crypt(5)`:          {s: Step{User: &User{Name: "a", PasswordHash: "secret"}}},
		`none of crypt(5), such as`: {s: Step{User: &User{Name: "a", PasswordHash: hash + ":0"}}},
		`password of user "a" is`:   {s: Step{User: &User{Name: "a", Password: "@Empty@"}}},
		`neither password nor`:      {s: Step{User: &User{Name: "a", Sudo: "yes"}}},
		`no public SSH key`:         {s: Step{User: &User{Name: "a", Keys: "x"}}},
		`no /etc/shadow`:            {s: Step{User: &User{Name: "a"}}, d: without("/etc/shadow")},
		`install sudo`:              {s: Step{User: &User{Name: "a", Sudo: "password"}}, d: without("/etc/sudoers")},
		`"admin" on the disk is`:    {s: Step{User: &User{Name: "admin"}}, d: damaged},
		`"other" on the disk is`:    {s: Step{User: &User{Name: "other"}}, d: damaged},
		`no free number`:            {s: Step{User: &User{Name: "a"}}, d: full},
		`no attribute "Oops"`:       {s: Step{User: &User{Name: "a", Groups: []string{"@Oops@"}}}},
	} {
		if row.d == nil {
			row.d = withAccounts(t)
		}
		before := row.d.writes
		_, err := row.s.Plan(context.Background(), row.d, func(name, member string) (attribute.Value, bool, bool) {
			return attribute.NewValue(name, "", ""), name == "Empty", name == "Empty"
		})
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, attribute.ErrInvalid, want)
		require.Equal(t, before, row.d.writes)
		require.NotContains(t, err.Error(), "secret")
	}
}

// TestSHA512Crypt has the vectors of the specification with 5000 rounds, and two of
// openssl passwd -6.
func TestSHA512Crypt(t *testing.T) {
	require.Equal(t, hash, sha512Crypt("Hello world!", "saltstring"))
	const salt = "abcdefghijklmnop"
	require.Equal(t, "$6$"+salt+"$5IETrK7DfmBLCcDDd2uUkHSMDWAJF6Icsj01AxgOg03tQ1u38QhUaKCWDwYi/e/EJYW.XtfPCzI7EG7M7zlvZ.", sha512Crypt("a", salt))
	require.Equal(t, "$6$"+salt+"$9xegLjJnUDqDHJvANDbbyTt5CjiF4pBcR3T7cQBmheK8BsZfkUWUfqyZA92U3ygmeyUWc8teml8jkL2xFkdxP0",
		sha512Crypt("pass word with 100 characters "+strings.Repeat("q", 80), salt))
	for range 20 {
		one, err := hashPassword("x")
		require.NoError(t, err)
		require.Regexp(t, cryptHash, one)
		require.True(t, isPassword("x", one))
	}
	for _, other := range []string{"", "*", "!", "$6$", "$5$saltstring$x", "$6$saltstring", "$6$rounds=5000$saltstring$x"} {
		require.False(t, isPassword("x", other), other)
	}
}
