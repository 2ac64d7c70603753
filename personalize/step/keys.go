package step

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"goldstream/personalize/attribute"
)

// SSHKeys adds public keys to those by which a user logs in.
type SSHKeys struct {
	User string `json:"user" yaml:"user"`
	Keys string `json:"keys" yaml:"keys"` // one a line
}

func (k *SSHKeys) plan(ctx context.Context, tree Files, x *expander) ([]Op, error) {
	user, err := x.text(k.User)
	if err != nil {
		return nil, err
	}
	keys, err := x.text(k.Keys)
	if err != nil {
		return nil, err
	}
	home, uid, gid, err := account(ctx, tree, user)
	if err != nil {
		return nil, err
	}
	return addKeys(ctx, tree, home, uid, gid, keys)
}

// addKeys adds keys, one a line, to those of the user with that home.
func addKeys(ctx context.Context, tree Files, home string, uid, gid int, keys string) ([]Op, error) {
	file := path.Join(home, ".ssh/authorized_keys")
	have, err := read(ctx, tree, file)
	if err != nil {
		return nil, err
	}
	text := have
	for line := range strings.Lines(keys) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := checkKey(line); err != nil {
			return nil, err
		}
		if contains(text, line) {
			continue
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		text += line + "\n"
	}
	if text == have {
		return nil, nil
	}
	var ops []Op
	if _, err := tree.Stat(ctx, path.Dir(file)); errors.Is(err, fs.ErrNotExist) {
		ops = append(ops, Op{Path: path.Dir(file), Make: true, Dir: true, Set: true, Mode: 0o700, UID: uid, GID: gid})
	}
	more, err := want{path: file, data: []byte(text), mode: 0o600, uid: uid, gid: gid}.plan(ctx, tree)
	return append(ops, more...), err
}

// checkKey refuses what sshd would not read, options in front too: a value of
// a profile shall add a key and nothing else.
func checkKey(line string) error {
	words := strings.Fields(line)
	if len(words) >= 2 && (strings.HasPrefix(words[0], "ssh-") || strings.HasPrefix(words[0], "ecdsa-") || strings.HasPrefix(words[0], "sk-")) {
		blob, err := base64.StdEncoding.DecodeString(words[1])
		if err == nil && len(blob) > 4 && strings.HasPrefix(string(blob[4:]), words[0]) {
			return nil
		}
	}
	return attribute.Invalid("%.60q is no public SSH key: write TYPE BASE64 COMMENT, one a line", line)
}

func contains(text, line string) bool {
	for have := range strings.Lines(text) {
		if strings.TrimSpace(have) == line {
			return true
		}
	}
	return false
}

// account finds a user of the disk.
func account(ctx context.Context, tree Files, user string) (home string, uid, gid int, err error) {
	passwd, err := read(ctx, tree, "/etc/passwd")
	if err != nil {
		return "", 0, 0, err
	}
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) != 7 || f[0] != user || user == "" {
			continue
		}
		uid, uidErr := strconv.Atoi(f[2])
		gid, gidErr := strconv.Atoi(f[3])
		if uidErr != nil || gidErr != nil || uid < 0 || gid < 0 || checkPath(f[5]) != nil {
			return "", 0, 0, attribute.Invalid("the account of user %.64q on the disk is damaged: %.200q", user, line)
		}
		return f[5], uid, gid, nil
	}
	return "", 0, 0, attribute.Invalid("the disk has no user %.64q", user)
}
