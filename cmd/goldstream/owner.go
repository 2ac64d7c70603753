package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// checkOwner refuses to open a data directory as root that belongs to another
// user: files that root makes there would keep that user's daemon out.
func checkOwner(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, path := range []string{dir, filepath.Join(dir, "blocks")} {
		if uid, ok := ownerOf(path); ok && uid != 0 {
			return asOwner(path, uid, "files that root makes there would lock its owner out", fs.ErrPermission)
		}
	}
	return nil
}

// explainOwner says what to do where the data directory cannot be opened for
// lack of rights.
func explainOwner(dir string, err error) error {
	uid, ok := ownerOf(dir)
	if !errors.Is(err, fs.ErrPermission) || !ok || int(uid) == os.Geteuid() {
		return err
	}
	return asOwner(dir, uid, err.Error(), err)
}

func asOwner(path string, uid uint32, why string, cause error) error {
	owner := "#" + strconv.Itoa(int(uid))
	if u, err := user.LookupId(strconv.Itoa(int(uid))); err == nil {
		owner = u.Username
	}
	return &cured{
		err: fmt.Errorf("no daemon serves %s, and only its owner %s may open it: %w", path, owner, &quiet{why, cause}),
		cure: fmt.Sprintf("Start the daemon, after which root and the members of the directory's group can run every command, "+
			"or run it as its owner: sudo -u %s goldstream …", sudoUser(owner)),
	}
}

// sudoUser writes a uid as shells and sudo want it.
func sudoUser(owner string) string {
	if owner[0] == '#' {
		return "'" + owner + "'"
	}
	return owner
}

// quiet is a message in place of its cause's own.
type quiet struct {
	msg string
	err error
}

func (q *quiet) Error() string { return q.msg }
func (q *quiet) Unwrap() error { return q.err }

// cured is an error with advice of its own.
type cured struct {
	err  error
	cure string
}

func (c *cured) Error() string { return c.err.Error() }
func (c *cured) Unwrap() error { return c.err }

func ownerOf(path string) (uid uint32, ok bool) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return st.Uid, true
}
