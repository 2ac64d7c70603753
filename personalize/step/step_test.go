package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"goldstream/personalize/attribute"
)

// tree is a directory as the root of a disk. Owners are noted, not set: tests
// need not be root.
type tree struct {
	root   *os.Root
	owners map[string][2]int
	writes int
}

// debian has the files of a Debian that steps look at.
func debian(t *testing.T, more map[string]string) *tree {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	d := &tree{root: root, owners: map[string][2]int{}}
	files := map[string]string{
		"/etc/hostname":           "golden\n",
		"/etc/hosts":              "127.0.0.1\tlocalhost\n127.0.1.1\tgolden.example.org golden\n192.0.2.7 golden\n",
		"/etc/passwd":             "root:x:0:0:root:/root:/bin/bash\nadmin:x:1000:1000:,,,:/home/admin:/bin/bash\nbad:x:1:1:::/bin/sh\n",
		"/etc/machine-id":         "0123456789abcdef0123456789abcdef\n",
		"/etc/network/interfaces": "source /etc/network/interfaces.d/*\n",
		"/usr/sbin/ifup":          "",
		"/home/admin/.profile":    "",
	}
	for path, text := range more {
		files[path] = text
	}
	for path, text := range files {
		dir := path[1:strings.LastIndexByte(path, '/')]
		require.NoError(t, root.MkdirAll(dir, 0o755))
		require.NoError(t, root.WriteFile(path[1:], []byte(text), 0o644))
	}
	return d
}

func at(path string) string {
	if path == "/" {
		return "."
	}
	return path[1:]
}

func (d *tree) Stat(_ context.Context, path string) (Info, error) {
	fi, err := d.root.Stat(at(path))
	if err != nil {
		return Info{}, err
	}
	o := d.owners[path]
	return Info{Mode: fi.Mode(), UID: o[0], GID: o[1], Size: fi.Size()}, nil
}

func (d *tree) Read(_ context.Context, path string) ([]byte, error) { return d.root.ReadFile(at(path)) }

func (d *tree) Write(_ context.Context, path string, data []byte) error {
	d.writes++
	return d.root.WriteFile(at(path), data, 0o600)
}

func (d *tree) List(_ context.Context, dir string) ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), at(dir))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (d *tree) Walk(_ context.Context, dir string) (all []Entry, err error) {
	err = fs.WalkDir(d.root.FS(), at(dir), func(path string, e fs.DirEntry, err error) error {
		if err == nil && path != at(dir) {
			all = append(all, Entry{strings.TrimPrefix(path, at(dir)+"/"), e.Type().IsRegular()})
		}
		return err
	})
	return all, err
}

func (d *tree) Mkdir(_ context.Context, path string) error  { return d.root.Mkdir(at(path), 0o755) }
func (d *tree) Remove(_ context.Context, path string) error { return d.root.Remove(at(path)) }

func (d *tree) Chmod(_ context.Context, path string, mode fs.FileMode) error {
	return d.root.Chmod(at(path), mode)
}

func (d *tree) Chown(_ context.Context, path string, uid, gid int) error {
	d.owners[path] = [2]int{uid, gid}
	return nil
}

func (d *tree) text(t *testing.T, path string) string {
	t.Helper()
	b, err := d.Read(context.Background(), path)
	require.NoError(t, err)
	return string(b)
}

func (d *tree) mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := d.Stat(context.Background(), path)
	require.NoError(t, err)
	return info.Mode.Perm()
}

// values are those of a profile.
func values(t *testing.T, nics ...string) attribute.Lookup {
	t.Helper()
	in := attribute.Inputs{
		Definitions: []attribute.Definition{
			attribute.NewDefinition("Name", attribute.Hostname, "web-1.example.org"),
			attribute.NewDefinition("Root", attribute.Password, "s3cret"),
			attribute.NewDefinition("NIC1", attribute.NIC, ""), attribute.NewDefinition("NIC2", attribute.NIC, ""),
		},
		System: map[string]string{"_Initiator1.mac": "52:54:00:00:00:FF"},
	}
	for _, s := range nics {
		name, text, _ := strings.Cut(s, "=")
		in.Profile = append(in.Profile, attribute.NewValue(name, "", text))
	}
	r, err := attribute.Resolve(in)
	require.NoError(t, err)
	return r.Lookup
}

// apply plans and applies a step, and has it planned again: nothing is left.
func apply(t *testing.T, d *tree, s Step, v attribute.Lookup) []Op {
	t.Helper()
	ctx := context.Background()
	before := d.writes
	ops, err := s.Plan(ctx, d, v)
	require.NoError(t, err)
	require.Equal(t, before, d.writes, "planning writes nothing")
	require.NoError(t, Apply(ctx, d, ops))
	again, err := s.Plan(ctx, d, v)
	require.NoError(t, err)
	require.Empty(t, again, "the second time there is nothing to do")
	return ops
}

func TestFile(t *testing.T) {
	d := debian(t, nil)
	ops := apply(t, d, Step{File: &File{Path: "/etc/app/a/@Name@.conf", Content: "pw=@Root@ a@@b\n", Mode: 0o640, UID: 1, GID: 2}}, values(t))
	const made = "/etc/app/a/web-1.example.org.conf"
	require.Equal(t, "pw=s3cret a@b\n", d.text(t, made))
	require.Equal(t, fs.FileMode(0o640), d.mode(t, made))
	require.Equal(t, [2]int{1, 2}, d.owners[made])
	require.Equal(t, "make /etc/app/a/web-1.example.org.conf, 14 bytes, mode 0640", fmt.Sprint(ops[0]))
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", ops, ops, ops), "s3cret")
	require.NoError(t, d.Chmod(context.Background(), "/etc/hostname", 0o600))
	apply(t, d, Step{File: &File{Path: "/etc/hostname", Content: "x"}}, values(t))
	require.Equal(t, fs.FileMode(0o600), d.mode(t, "/etc/hostname"), "a file that exists keeps its mode")
	apply(t, d, Step{File: &File{Path: "/etc/hostname", Content: "x", Mode: 0o644}}, values(t))
	require.Equal(t, fs.FileMode(0o644), d.mode(t, "/etc/hostname"), "unless the step says so")
}

func TestHostname(t *testing.T) {
	d := debian(t, nil)
	apply(t, d, Step{Hostname: "@Name@"}, values(t))
	require.Equal(t, "web-1.example.org\n", d.text(t, "/etc/hostname"))
	require.Equal(t, "127.0.0.1\tlocalhost\n127.0.1.1\tgolden.example.org web-1\n192.0.2.7 golden\n", strings.ReplaceAll(d.text(t, "/etc/hosts"), "web-1.example.org", "web-1"), "other hosts keep their names")
	bare := debian(t, nil)
	require.NoError(t, bare.Remove(context.Background(), "/etc/hosts"))
	require.NoError(t, bare.Remove(context.Background(), "/etc/hostname"))
	apply(t, bare, Step{Hostname: "a"}, values(t))
	require.Equal(t, "a\n", bare.text(t, "/etc/hostname"))
}

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGiDQKpu1cVpJ0GJxXJmGpHTlVkJhY5XHhxE0e6rYgVd me"

func TestSSHKeys(t *testing.T) {
	d := debian(t, nil)
	apply(t, d, Step{SSHKeys: &SSHKeys{User: "admin", Keys: "\n# mine\n" + key + "\n"}}, values(t))
	const file = "/home/admin/.ssh/authorized_keys"
	require.Equal(t, key+"\n", d.text(t, file))
	require.Equal(t, fs.FileMode(0o600), d.mode(t, file))
	require.Equal(t, fs.FileMode(0o700), d.mode(t, "/home/admin/.ssh"))
	require.Equal(t, [2]int{1000, 1000}, d.owners[file])
	other := strings.Replace(key, " me", " you", 1)
	require.NoError(t, d.Write(context.Background(), file, []byte(other)))
	apply(t, d, Step{SSHKeys: &SSHKeys{User: "admin", Keys: key}}, values(t))
	require.Equal(t, other+"\n"+key+"\n", d.text(t, file), "keys that are there stay")
}

func TestMachineID(t *testing.T) {
	d := debian(t, map[string]string{"/var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n"})
	apply(t, d, Step{MachineID: true}, values(t))
	require.Empty(t, d.text(t, "/etc/machine-id"))
	_, err := d.Stat(context.Background(), "/var/lib/dbus/machine-id")
	require.ErrorIs(t, err, fs.ErrNotExist)
	apply(t, debian(t, nil), Step{MachineID: true}, values(t))
}

func TestNoCloud(t *testing.T) {
	d := debian(t, nil)
	apply(t, d, Step{NoCloud: &NoCloud{MetaData: "instance-id: @Name@\n", UserData: "#cloud-config\npassword: @Root@\n"}}, values(t))
	require.Equal(t, "instance-id: web-1.example.org\n", d.text(t, seedDir+"meta-data"))
	require.Equal(t, fs.FileMode(0o600), d.mode(t, seedDir+"user-data"))
}

func TestNetwork(t *testing.T) {
	static := []string{"NIC1.mac=52:54:00:00:00:01", "NIC1.ipaddress=192.0.2.10", "NIC1.netmask=255.255.255.0", "NIC1.gateway=192.0.2.1", "NIC1.dns1=192.0.2.53", "NIC1.dns2=192.0.2.54", "NIC1.domain=example.org"}
	dhcp := []string{"NIC2.mac=52:54:00:00:00:02", "NIC2.dhcp=true"}
	boot := []string{"NIC2.mac=52:54:00:00:00:ff", "NIC2.dhcp=true"}
	both := Step{Network: &Network{NICs: []string{"NIC1", "NIC2"}}}
	const head = "# written by goldstream\n"

	d := debian(t, nil)
	apply(t, d, both, values(t, append(static, dhcp...)...))
	require.Equal(t, head+"[Match]\nMACAddress=52:54:00:00:00:01\n\n[Link]\nName=gs-5400000001\n", d.text(t, "/etc/systemd/network/10-goldstream-NIC1.link"))
	require.Equal(t, head+"auto gs-5400000001\niface gs-5400000001 inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n    dns-nameservers 192.0.2.53 192.0.2.54\n    dns-search example.org\n", d.text(t, "/etc/network/interfaces.d/goldstream-nic1"))
	require.Equal(t, head+"auto gs-5400000002\niface gs-5400000002 inet dhcp\n", d.text(t, "/etc/network/interfaces.d/goldstream-nic2"))

	d = debian(t, map[string]string{"/usr/sbin/NetworkManager": ""})
	apply(t, d, both, values(t, append(static, boot...)...))
	const connection = "/etc/NetworkManager/system-connections/goldstream-NIC1.nmconnection"
	require.Equal(t, head+"[connection]\nid=goldstream-NIC1\ntype=ethernet\n\n[ethernet]\nmac-address=52:54:00:00:00:01\n\n[ipv4]\nmethod=manual\naddress1=192.0.2.10/24,192.0.2.1\ndns=192.0.2.53;192.0.2.54;\ndns-search=example.org\n", d.text(t, connection))
	require.Equal(t, fs.FileMode(0o600), d.mode(t, connection))
	require.Equal(t, head+"[keyfile]\nunmanaged-devices+=mac:52:54:00:00:00:ff\n", d.text(t, "/etc/NetworkManager/conf.d/10-goldstream-NIC2.conf"), "the disk hangs on this NIC")

	d = debian(t, nil)
	both.Network.Backend = "networkd"
	apply(t, d, both, values(t, append(static, boot...)...))
	require.Equal(t, head+"[Match]\nMACAddress=52:54:00:00:00:01\n\n[Network]\nAddress=192.0.2.10/24\nGateway=192.0.2.1\nDNS=192.0.2.53\nDNS=192.0.2.54\nDomains=example.org\n", d.text(t, "/etc/systemd/network/10-goldstream-NIC1.network"))
	require.Equal(t, head+"[Match]\nMACAddress=52:54:00:00:00:ff\n\n[Network]\nKeepConfiguration=yes\nDHCP=no\n", d.text(t, "/etc/systemd/network/10-goldstream-NIC2.network"))

	require.Empty(t, apply(t, debian(t, nil), Step{Network: &Network{NICs: []string{"NIC1"}}}, values(t)), "a NIC that is disabled")
}

func TestSELinux(t *testing.T) {
	ctx := context.Background()
	d := debian(t, map[string]string{"/etc/selinux/config": "# x\nSELINUX=enforcing\n"})
	apply(t, d, Step{File: &File{Path: "/etc/hostname", Content: "x"}}, values(t))
	_, err := d.Stat(ctx, "/.autorelabel")
	require.ErrorIs(t, err, fs.ErrNotExist, "a file written in place keeps its label")
	apply(t, d, Step{File: &File{Path: "/etc/new", Content: "x"}}, values(t))
	_, err = d.Stat(ctx, "/.autorelabel")
	require.NoError(t, err)
}

func TestWrongSteps(t *testing.T) {
	none := debian(t, nil)
	require.NoError(t, none.Remove(context.Background(), "/usr/sbin/ifup"))
	odd := debian(t, map[string]string{"/etc/network/interfaces": "auto eth0\n"})
	for want, row := range map[string]struct {
		s    Step
		d    *tree
		nics []string
	}{
		"exactly one":                {s: Step{}},
		"this one has 2":             {s: Step{Hostname: "a", MachineID: true}},
		"no attribute \"Oops\"":      {s: Step{File: &File{Path: "/a", Content: "@Oops@"}}},
		"is no path":                 {s: Step{File: &File{Path: "/a/../b"}}},
		"\"a\" is no path":           {s: Step{File: &File{Path: "a"}}},
		"out of range":               {s: Step{File: &File{Path: "/a", Mode: 0o10000}}},
		"no regular file":            {s: Step{File: &File{Path: "/etc"}}},
		"at most":                    {s: Step{File: &File{Path: "/a", Content: strings.Repeat("x", MaxFile+1)}}},
		"no host name":               {s: Step{Hostname: "a_b"}},
		"no user \"nobody\"":         {s: Step{SSHKeys: &SSHKeys{User: "nobody", Keys: key}}},
		"is damaged":                 {s: Step{SSHKeys: &SSHKeys{User: "bad", Keys: key}}},
		"no public SSH key":          {s: Step{SSHKeys: &SSHKeys{User: "root", Keys: `command="x" ` + key}}},
		"declares no NIC":            {s: Step{Network: &Network{NICs: []string{"NIC9"}}}},
		"names no NICs":              {s: Step{Network: &Network{}}},
		"no backend":                 {s: Step{Network: &Network{NICs: []string{"NIC1"}, Backend: "x"}}},
		"no MAC address":             {s: Step{Network: &Network{NICs: []string{"NIC1"}}}, nics: []string{"NIC1.dhcp=true"}},
		"no tagged VLANs":            {s: Step{Network: &Network{NICs: []string{"NIC1"}}}, nics: []string{"NIC1.mac=52:54:00:00:00:01", "NIC1.dhcp=true", "NIC1.vlanid=5"}},
		"neither NetworkManager nor": {s: Step{Network: &Network{NICs: []string{"NIC1"}}}, d: none},
		"does not read":              {s: Step{Network: &Network{NICs: []string{"NIC1"}}}, d: odd},
	} {
		if row.d == nil {
			row.d = debian(t, nil)
		}
		_, err := row.s.Plan(context.Background(), row.d, values(t, row.nics...))
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, attribute.ErrInvalid)
		require.Zero(t, row.d.writes)
	}
}

// TestStepsFromYAML reads steps as people write them.
func TestStepsFromYAML(t *testing.T) {
	var steps []Step
	require.NoError(t, yaml.Unmarshal([]byte(`
- hostname: "@Name@"
- file: {path: /etc/motd, content: "hello\n", mode: 0o644}
- sshKeys: {user: root, keys: "`+key+`"}
- newMachineId: true
- network: {nics: [NIC1], backend: networkd}
`), &steps))
	d := debian(t, nil)
	for _, s := range steps {
		apply(t, d, s, values(t, "NIC1.mac=52:54:00:00:00:01", "NIC1.dhcp=true"))
	}
	require.Equal(t, "hello\n", d.text(t, "/etc/motd"))
}

// whole is a tree with a disk around it.
type whole struct {
	*tree
	grown *int
}

func (w whole) GrowRoot(context.Context) error { *w.grown++; return nil }

func TestGrowRoot(t *testing.T) {
	ctx, grown := context.Background(), 0
	_, err := Step{GrowRoot: true}.Plan(ctx, debian(t, nil), values(t))
	require.ErrorIs(t, err, attribute.ErrInvalid)
	d := whole{debian(t, nil), &grown}
	ops, err := Step{GrowRoot: true}.Plan(ctx, d, values(t))
	require.NoError(t, err)
	require.Equal(t, "[grow / to the end of the disk]", fmt.Sprint(ops))
	require.Zero(t, grown)
	require.NoError(t, Apply(ctx, d, ops))
	require.Equal(t, 1, grown)
	require.ErrorIs(t, Apply(ctx, d.tree, ops), errors.ErrUnsupported)
}

// broken fails each write.
type broken struct{ *tree }

func (broken) Write(context.Context, string, []byte) error { return errors.New("disk full") }

func TestApplyNamesWhatFails(t *testing.T) {
	d := debian(t, nil)
	ops, err := Step{Hostname: "a"}.Plan(context.Background(), d, values(t))
	require.NoError(t, err)
	require.EqualError(t, Apply(context.Background(), broken{d}, ops), "cannot write /etc/hostname, 2 bytes: disk full")
}
