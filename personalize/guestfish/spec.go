package guestfish

import (
	"maps"
	"slices"
	"strings"
)

// Param is what an argument means.
type Param string

// The meanings.
const (
	Path      Param = "path"      // absolute, in the guest
	Device    Param = "device"    // /dev/…
	Mountable Param = "mountable" // a device, or a part of a file system on one
	Target    Param = "target"    // of umount: path or device
	Text      Param = "text"
	Integer   Param = "integer" // decimal, 0octal or 0xhex
	Words     Param = "words"   // one argument with words apart by blanks
	LocalIn   Param = "local file to read"
	LocalOut  Param = "local file to write"
	LocalDir  Param = "local directory"
)

// Spec describes a command.
type Spec struct {
	Name   string
	Params []Param
	// Repeat is the parameter that may stand any number of times, counted from
	// 0; -1 says none.
	Repeat int
	// AtLeast is how often Repeat stands at least.
	AtLeast int
	// Options are optional arguments of the form NAME:VALUE, behind the others.
	Options []string
}

// rows is the table of commands: names (the first is what the command is
// called), parameters in order ("…" repeats the one before, "*" also not at
// all), options behind a colon.
//
// The first block has the commands of all published scripts, the second those
// that users are likely to have beside them.
const rows = `
echo                        text *
upload                      localin path
download                    path localout
mkdir                       path
mkdir-p                     path
rm                          path
rm-f                        path
rm-rf                       path
cat                         path
mount                       mountable path
umount unmount              target : force lazyunmount
umount-all unmount-all      :
list-filesystems            :
list-devices                :
list-partitions             :
chmod                       integer path
vgs                         :
lvs                         :
vgrename                    text text
copy-out                    path … localdir
copy-in                     localin … path
command                     words
statvfs                     path
touch                       path
ls                          path
version                     :
inspect-os                  :
inspect-get-distro          device
inspect-get-osinfo          device
ln-s                        text path
ln-f                        path path
compress-out                text path localout : level
cp                          path path
cp-a                        path path
mv                          path path
write-append                path text

cp-r                        path path
ln                          path path
ln-sf                       text path
write                       path text
is-file                     path : followsymlinks
is-dir                      path : followsymlinks
is-symlink                  path
exists                      path
stat                        path
lstat                       path
filesize                    path
readlink                    path
du                          path
df                          :
df-h                        :
find                        path
ll                          path
head                        path
head-n                      integer path
tail                        path
tail-n                      integer path
grep                        text path : extended fixed insensitive
file-architecture           path
checksum                    text path
tar-in                      localin path : compress
tar-out                     path localout : compress numericowner
tgz-in                      localin path
tgz-out                     path localout
download-offset             path localout integer integer
mount-ro                    mountable path
mount-options               text mountable path
mounts                      :
mountpoints                 :
vfs-type                    mountable
vfs-uuid                    mountable
vfs-label                   mountable
blkid                       device
blockdev-getsize64          device
part-list                   device
part-get-parttype           device
pvs                         :
vg-activate-all             text
lvrename                    text text
inspect-get-type            device
inspect-get-arch            device
inspect-get-product-name    device
inspect-get-major-version   device
inspect-get-minor-version   device
inspect-get-hostname        device
inspect-get-mountpoints     device
inspect-get-filesystems     device
chown                       integer integer path
sh                          text
sh-lines                    text
command-lines               words
sync                        :
lcd                         localdir
setenv                      text text
unsetenv                    text
help                        text *
quit exit q                 :
`

// Commands are the commands that are known, by each of their names.
type Commands map[string]*Spec

// Known returns the commands.
func Known() Commands {
	all := Commands{}
	for line := range strings.Lines(rows) {
		front, options, _ := strings.Cut(line, ":")
		fields := strings.Fields(front)
		if len(fields) == 0 {
			continue
		}
		spec := &Spec{Name: fields[0], Repeat: -1, Options: strings.Fields(options)}
		for _, f := range fields {
			if p, ok := meaning(f); ok {
				spec.Params = append(spec.Params, p)
			} else if f == "…" || f == "*" {
				spec.Repeat = len(spec.Params) - 1
				if f == "…" {
					spec.AtLeast = 1
				}
			} else {
				all[f] = spec
			}
		}
	}
	return all
}

func meaning(field string) (Param, bool) {
	switch field {
	case "path":
		return Path, true
	case "device":
		return Device, true
	case "mountable":
		return Mountable, true
	case "target":
		return Target, true
	case "text":
		return Text, true
	case "integer":
		return Integer, true
	case "words":
		return Words, true
	case "localin":
		return LocalIn, true
	case "localout":
		return LocalOut, true
	case "localdir":
		return LocalDir, true
	}
	return "", false
}

// Names lists all names, in order.
func (c Commands) Names() []string { return slices.Sorted(maps.Keys(c)) }

// Find returns the command of a name, in any case, or nil.
func (c Commands) Find(name string) *Spec { return c[strings.ToLower(name)] }

// Param returns the meaning of argument i of n.
func (s *Spec) Param(i, n int) Param {
	if s.Repeat < 0 {
		return s.Params[i]
	}
	behind := len(s.Params) - 1 - s.Repeat
	switch {
	case i < s.Repeat:
		return s.Params[i]
	case i >= n-behind:
		return s.Params[len(s.Params)-(n-i)]
	}
	return s.Params[s.Repeat]
}

// Usage is how the command is written.
func (s *Spec) Usage() string {
	words := []string{s.Name}
	for i, p := range s.Params {
		name := strings.ToUpper(strings.ReplaceAll(string(p), " ", "-"))
		switch {
		case i == s.Repeat && s.AtLeast == 0:
			name = "[" + name + "]…"
		case i == s.Repeat:
			name += "…"
		}
		words = append(words, name)
	}
	for _, o := range s.Options {
		words = append(words, "["+o+":…]")
	}
	return strings.Join(words, " ")
}
