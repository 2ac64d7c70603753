package step

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"goldstream/personalize/attribute"
)

// HostKeys gives the server keys of its own, by which SSH clients know it: two
// servers that share one can pose as each other. What comes from chance is not the
// same again: each time that the step is planned there are other keys.
type HostKeys struct {
	// Types are of ed25519, ecdsa (NIST P-256) and rsa (3072 bits); all where empty.
	// Keys of other types are removed.
	Types []string `json:"types,omitempty" yaml:"types,omitempty"`
	// Remove leaves it to the first boot to make keys, where the system does that.
	Remove bool `json:"remove,omitempty" yaml:"remove,omitempty"`
}

const sshDir = "/etc/ssh"

func keyTypes() []string { return []string{"ed25519", "ecdsa", "rsa"} }

func (h *HostKeys) check() error {
	for _, t := range h.Types {
		if !slices.Contains(keyTypes(), t) {
			return attribute.Invalid("%.64q is no type of a host key: write ed25519, ecdsa or rsa", t)
		}
	}
	if h.Remove && len(h.Types) > 0 {
		return attribute.Invalid("a hostKeys step has types, and remove too: leave one out")
	}
	return nil
}

func (h *HostKeys) plan(ctx context.Context, tree Files, _ *expander) ([]Op, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	types := h.Types
	if len(types) == 0 {
		types = keyTypes()
	}
	if _, err := tree.Stat(ctx, sshDir); errors.Is(err, fs.ErrNotExist) {
		return nil, attribute.Invalid("the disk has no /etc/ssh: install an SSH server in the image")
	} else if err != nil {
		return nil, err
	}
	have, err := hostKeysOf(ctx, tree)
	if err != nil {
		return nil, err
	}
	if !h.Remove {
		return renewKeys(ctx, tree, have, types)
	}
	makes, err := makesHostKeys(ctx, tree)
	if err == nil && !makes {
		err = attribute.Invalid("nothing on the disk makes SSH host keys at its first boot, and without any nobody logs in: leave out remove")
	}
	return removals(have), err
}

// hostKeysOf lists the files of keys, also the public ones.
func hostKeysOf(ctx context.Context, tree Files) (files []string, err error) {
	names, err := tree.List(ctx, sshDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, name := range names {
		if strings.HasPrefix(name, "ssh_host_") && strings.Contains(name, "_key") {
			files = append(files, sshDir+"/"+name)
		}
	}
	return files, err
}

// makesHostKeys looks for what does it at boot: RHEL and Fedora, SUSE, Arch.
func makesHostKeys(ctx context.Context, tree Files) (bool, error) {
	for _, sign := range []string{
		"/usr/lib/systemd/system/sshd-keygen@.service", "/usr/sbin/sshd-gen-keys-start", "/usr/libexec/sshd-gen-keys-start", "/usr/lib/systemd/system/sshdgenkeys.service",
	} {
		if _, err := tree.Stat(ctx, sign); err == nil {
			return true, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

func removals(files []string) (ops []Op) {
	for _, f := range files {
		ops = append(ops, Op{Path: f, Remove: true})
	}
	return ops
}

// renewKeys writes over keys of these types, and removes all others.
func renewKeys(ctx context.Context, tree Files, have, types []string) ([]Op, error) {
	group, err := keyGroup(ctx, tree)
	if err != nil {
		return nil, err
	}
	var ops []Op
	for _, t := range types {
		private, public, err := newHostKey(ctx, tree, t)
		if err != nil {
			return nil, err
		}
		file := sshDir + "/ssh_host_" + t + "_key"
		secret := want{path: file, data: private, mode: 0o600, enforce: true}
		if group > 0 {
			secret.mode, secret.gid = 0o640, group
		}
		for _, w := range []want{secret, {path: file + ".pub", data: public, mode: 0o644, enforce: true}} {
			more, err := w.plan(ctx, tree)
			if err != nil {
				return nil, err
			}
			ops = append(ops, more...)
		}
		have = slices.DeleteFunc(have, func(f string) bool { return f == file || f == file+".pub" })
	}
	return append(ops, removals(have)...), nil
}

// keyGroup is the group that may read host keys on older RHEL, where ssh-keysign is
// setgid; 0 elsewhere.
func keyGroup(ctx context.Context, tree Files) (int, error) {
	info, err := tree.Stat(ctx, sshDir+"/ssh_host_rsa_key")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil || info.Mode.Perm() != 0o640 {
		return 0, err
	}
	return info.GID, nil
}

// KeyMaker is a tree whose owner has RSA keys of 3072 bits made ahead: one takes half
// a second. Each is given out once.
type KeyMaker interface {
	RSAKey(ctx context.Context) (*rsa.PrivateKey, error)
}

func newRSAKey(ctx context.Context, tree Files) (crypto.Signer, error) {
	if m, ok := tree.(KeyMaker); ok {
		return m.RSAKey(ctx)
	}
	return rsa.GenerateKey(rand.Reader, 3072)
}

// newHostKey makes a key in the format of OpenSSH, as ssh-keygen -A does.
func newHostKey(ctx context.Context, tree Files, kind string) (private, public []byte, err error) {
	var key crypto.Signer
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		key, err = newRSAKey(ctx, tree)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make an SSH host key of type %s: %w", kind, err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, nil, err
	}
	line, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(line), nil
}
