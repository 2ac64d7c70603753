package access

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// FirstPasswordFile, mode 0600, holds the one-time password that Bootstrap made, where
// nobody may have seen it. It goes when the user administrator gets another password.
const FirstPasswordFile = "first-password"

func keepFirst(dir, password string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	path := filepath.Join(dir, FirstPasswordFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // its mode would stay
		return err
	}
	if err := write(path, []byte(password+"\n")); err != nil {
		return err
	}
	return syncDir(dir)
}

// firstHash is the hash of the user administrator's password while that is for one
// login; "": it is not, or there is no such user.
func (r record) firstHash() passwordHash {
	if i := r.find(Administrator); i >= 0 && r.Users[i].OneTime {
		return r.Users[i].Hash
	}
	return ""
}
