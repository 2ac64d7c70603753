package step

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"goldstream/personalize/attribute"
)

// Generalize takes away what belongs to the machine that the image was made on, so
// that no two servers share it. What the next boot makes by itself is left to it.
type Generalize struct {
	// Keep names what stays: see [Traits].
	Keep []string `json:"keep,omitempty" yaml:"keep,omitempty"`
	// IfSystem does nothing to a disk without a Linux system, where the step would fail
	// otherwise. Deployments put such a step first. It fails all the same where a system
	// may be that was not seen, or there are several: their identity would be shared.
	IfSystem bool `json:"ifSystem,omitempty" yaml:"ifSystem,omitempty"`
}

// trait is one thing that belongs to one machine.
type trait struct {
	name string
	plan func(ctx context.Context, tree Files) ([]Op, error)
}

// traits are in the order of what is worst to share.
func traits() []trait {
	return []trait{
		{"machineId", generalizeMachineID},
		{"hostKeys", generalizeHostKeys},
		{"randomSeed", remover(
			"/var/lib/systemd/random-seed", "/var/lib/systemd/credential.secret", "/var/lib/urandom/random-seed", "/var/lib/random-seed",
			"/boot/efi/loader/random-seed", "/efi/loader/random-seed", "/boot/loader/random-seed")},
		{"dhcpLeases", remover(
			"/var/lib/dhcp/*.lease*", "/var/lib/dhclient/*.lease*", "/var/lib/dhcpcd/*.lease*", "/var/lib/dhcpcd/duid", "/var/lib/dhcpcd/secret",
			"/etc/dhcpcd.duid", "/etc/dhcpcd.secret", "/var/lib/NetworkManager/*.lease", "/var/lib/NetworkManager/secret_key", "/var/lib/NetworkManager/timestamps",
			"/var/lib/wicked/lease-*", "/var/lib/wicked/duid.xml")},
		{"netRules", remover("/etc/udev/rules.d/*-persistent-net.rules", "/etc/udev/rules.d/*-persistent-cd.rules")},
		{"history", removeHistories},
		{"logs", emptyLogs},
	}
}

// Traits are what Generalize knows.
func Traits() (names []string) {
	for _, t := range traits() {
		names = append(names, t.name)
	}
	return names
}

func (g *Generalize) check() error {
	for _, name := range g.Keep {
		if !slices.Contains(Traits(), name) {
			return attribute.Invalid("%.64q is nothing that generalize knows: keep takes %s", name, strings.Join(Traits(), ", "))
		}
	}
	return nil
}

func (g *Generalize) plan(ctx context.Context, tree Files, _ *expander) (ops []Op, err error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	for _, t := range traits() {
		if slices.Contains(g.Keep, t.name) {
			continue
		}
		more, err := t.plan(ctx, tree)
		if err != nil {
			return nil, err
		}
		ops = append(ops, more...)
	}
	return ops, nil
}

// generalizeMachineID makes no file: without one there is no identity, and systems
// without systemd have no use for it.
func generalizeMachineID(ctx context.Context, tree Files) ([]Op, error) {
	have, err := regular(ctx, tree, "/etc/machine-id")
	if err != nil || !have {
		return nil, err
	}
	return planMachineID(ctx, tree)
}

// generalizeHostKeys leaves new keys to the system, if it makes them by itself; else
// there are new ones of the types that the image has.
func generalizeHostKeys(ctx context.Context, tree Files) ([]Op, error) {
	have, err := hostKeysOf(ctx, tree)
	if err != nil || len(have) == 0 {
		return nil, err
	}
	if makes, err := makesHostKeys(ctx, tree); makes || err != nil {
		return removals(have), err
	}
	types := slices.DeleteFunc(keyTypes(), func(t string) bool { return !slices.Contains(have, sshDir+"/ssh_host_"+t+"_key") })
	if len(types) == 0 { // all that there is are types of old
		types = keyTypes()
	}
	return renewKeys(ctx, tree, have, types)
}

// remover removes regular files. Patterns are in the last part of a path alone.
func remover(patterns ...string) func(context.Context, Files) ([]Op, error) {
	return func(ctx context.Context, tree Files) (ops []Op, err error) {
		listed := map[string][]string{}
		for _, p := range patterns {
			dir := path.Dir(p)
			names, known := listed[dir]
			if !known {
				if names, err = list(ctx, tree, dir); err != nil {
					return nil, err
				}
				listed[dir] = names
			}
			for _, name := range names {
				if match, _ := path.Match(path.Base(p), name); !match {
					continue
				}
				file, err := regular(ctx, tree, path.Join(dir, name))
				if err != nil {
					return nil, err
				}
				if file {
					ops = append(ops, Op{Path: path.Join(dir, name), Remove: true})
				}
			}
		}
		return ops, nil
	}
}

// list is empty for what is no directory.
func list(ctx context.Context, tree Files, dir string) ([]string, error) {
	info, err := tree.Stat(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return tree.List(ctx, dir)
}

func regular(ctx context.Context, tree Files, file string) (bool, error) {
	info, err := tree.Stat(ctx, file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Mode.IsRegular(), err
}

// removeHistories looks into the homes of all accounts.
func removeHistories(ctx context.Context, tree Files) (ops []Op, err error) {
	passwd, err := openAccounts(ctx, tree, "/etc/passwd", 7)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{"/": true} // of accounts that nobody logs in by
	for _, row := range passwd.rows {
		c := strings.Split(row, ":")
		if len(c) != passwd.columns || checkPath(c[5]) != nil || seen[c[5]] {
			continue
		}
		seen[c[5]] = true
		more, err := remover(c[5]+"/.*_history", c[5]+"/.lesshst", c[5]+"/.viminfo")(ctx, tree)
		if err != nil {
			return nil, err
		}
		ops = append(ops, more...)
	}
	return ops, nil
}

// emptyLogs removes journals and old logs. Others are emptied and keep their owners,
// without which not every service could write them again.
func emptyLogs(ctx context.Context, tree Files) (ops []Op, err error) {
	const logs = "/var/log"
	if names, err := list(ctx, tree, logs); err != nil || len(names) == 0 {
		return nil, err
	}
	entries, err := tree.Walk(ctx, logs)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.Regular {
			continue
		}
		file := path.Join(logs, e.Path)
		if oldLog(e.Path) {
			ops = append(ops, Op{Path: file, Remove: true})
			continue
		}
		info, err := tree.Stat(ctx, file)
		if err != nil {
			return nil, err
		}
		if info.Size > 0 {
			ops = append(ops, Op{Path: file})
		}
	}
	return ops, nil
}

// oldLog knows rotated logs by how their names end, and journals.
func oldLog(file string) bool {
	if strings.HasPrefix(file, "journal/") {
		return true
	}
	ext := path.Ext(file)
	if slices.Contains([]string{".gz", ".xz", ".bz2", ".zst", ".old"}, ext) {
		return true
	}
	number := strings.Trim(ext, "0123456789") == "." && len(ext) > 1 && len(ext) <= 3 // messages.1
	_, date, _ := strings.Cut(path.Base(file), "-")
	return number || len(date) == 8 && strings.Trim(date, "0123456789") == "" // messages-20260101
}
