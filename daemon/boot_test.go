package daemon

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/netboot"
)

// bootArchive is what the command line sends: kernel and initrd lie at the beginning
// of the disk.
func bootArchive(t *testing.T, files map[string]string) io.Reader {
	t.Helper()
	m := map[string]any{"version": "6.1", "options": "quiet", "root": "LABEL=root", "placed": true,
		"ranges": []map[string]int64{{"offset": 0, "length": 8192}}}
	for _, name := range []string{"kernel", "initrd"} {
		sum := sha256.Sum256([]byte("the " + name))
		m[name] = manifestFile{Name: name, Size: int64(len("the " + name)), SHA256: hex.EncodeToString(sum[:])}
	}
	text, err := json.Marshal(m)
	require.NoError(t, err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name, text string) {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o600}))
		_, err := io.WriteString(w, text)
		require.NoError(t, err)
	}
	add(bootManifest, string(text))
	for name, text := range files {
		add(name, text)
	}
	require.NoError(t, w.Close())
	return &b
}

func goodFiles() map[string]string {
	return map[string]string{"kernel": "the kernel", "initrd": "the initrd"}
}

// TestBootFromTheNetwork goes from the assignment to the files over HTTP and to the
// export, through a restart.
func TestBootFromTheNetwork(t *testing.T) {
	dir := t.TempDir()
	guest := filepath.Join(t.TempDir(), "guest")
	require.NoError(t, os.WriteFile(guest, []byte("guest"), 0o755))
	log := slog.New(slog.DiscardHandler)
	open := func() *Daemon {
		d, err := Open(dir, Options{Logger: log, Guest: guest})
		require.NoError(t, err)
		return d
	}
	ctx := t.Context()
	d := open()
	client := d.Embed()
	for _, name := range []string{"web-1", "web-2"} {
		_, err := d.store.CreateVolume(ctx, blockstore.CloneRequest{Name: name, Size: 1 << 20})
		require.NoError(t, err)
	}
	key, err := client.PutBootFiles(ctx, bootArchive(t, goodFiles()))
	require.NoError(t, err)
	again, err := client.PutBootFiles(ctx, bootArchive(t, goodFiles()))
	require.NoError(t, err)
	require.Equal(t, key, again)
	one, err := client.AssignBoot(ctx, "web-1", v1.BootRequest{MACs: []string{"52:54:00:00:00:01"}, UUID: "01234567-89ab-cdef-0123-456789abcdef", Files: key, Options: "console=ttyS0"})
	require.NoError(t, err)
	require.Equal(t, "6.1", one.Kernel)
	_, err = client.AssignBoot(ctx, "web-2", v1.BootRequest{MACs: []string{"52:54:00:00:00:01"}, Files: key})
	require.ErrorContains(t, err, `belongs to the server of volume "web-1"`)
	_, err = client.AssignBoot(ctx, "web-2", v1.BootRequest{MACs: []string{"52:54:00:00:00:02"}, Files: key})
	require.NoError(t, err)
	tokens, err := client.Tokens(ctx)
	require.NoError(t, err)
	require.Len(t, tokens, 2, "one for each record, none of the refused one")
	require.NoError(t, client.Close())
	require.NoError(t, d.Close())

	d = open()
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		ended <- d.Run(run, RunConfig{NBD: []Listener{{Address: "0.0.0.0:0"}}, Boot: []string{"127.0.0.1:0"}, Ready: func([]string) { close(ready) }})
	}()
	defer func() {
		stop()
		require.NoError(t, <-ended)
		require.NoError(t, d.Close())
	}()
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	checkHandOut(t, d, v1.NewClient(filepath.Join(dir, v1.SocketName)))
}

func checkHandOut(t *testing.T, d *Daemon, c *v1.Client) {
	defer c.Close()
	ctx := t.Context()
	host := &bootHost{d: d}
	h := netboot.NewHandler(netboot.Options{Host: host, Helper: func() ([]byte, error) { return []byte("guest"), nil }, Log: d.log})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nbd, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer nbd.Close()
	host.listeners = []net.Listener{nbd}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	get := func(path string) string {
		resp, err := http.Get("http://" + ln.Addr().String() + netboot.Prefix + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		p, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(p)
	}
	script := get("script?mac=52-54-00-00-00-01&uuid=01234567-89AB-cdef-0123-456789abcdef")
	require.Contains(t, script, "quiet root=LABEL=root boot=goldstream BOOTIF=01-52-54-00-00-00-01 console=ttyS0 ")
	_, rest, _ := strings.Cut(script, "kernel b/")
	id, _, _ := strings.Cut(rest, "/")
	require.Equal(t, "the kernel", get("b/"+id+"/kernel"))
	initrd := get("b/" + id + "/initrd")
	require.True(t, strings.HasPrefix(initrd, "the initrd\x00\x00070701"))
	require.Contains(t, initrd, "server="+nbd.Addr().String())
	r, err := d.boots.find(netboot.Identity{MAC: "52:54:00:00:00:01"})
	require.NoError(t, err)
	require.Contains(t, initrd, r.Secret)
	grant, err := (&grants{d.store, d.tokens}).Resolve(ctx, r.Secret, nbd.Addr())
	require.NoError(t, err)
	require.Equal(t, "web-1", grant.Export)

	// One that mixes two servers, one that lies about its UUID.
	for _, claim := range []string{"mac=52-54-00-00-00-02&uuid=01234567-89ab-cdef-0123-456789abcdef", "mac=52-54-00-00-00-01&uuid=11234567-89ab-cdef-0123-456789abcdef"} {
		require.Contains(t, get("script?"+claim), "Refused")
	}
	trail, err := os.ReadFile(d.bootDir(refusedLog))
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(trail), `"from":"127.0.0.1"`), "%s", trail)

	checkRescueAndChange(t, d, c, get)
	require.NoError(t, c.UnassignBoot(ctx, "web-1"))
	_, ok := d.tokens.find(r.Secret)
	require.False(t, ok, "the secret opens nothing any more")
	require.Contains(t, get("script?mac=52-54-00-00-00-01"), "not known")
	require.NoFileExists(t, d.boots.path(r.VolumeID))
	list, err := c.Boot(ctx)
	require.NoError(t, err)
	require.Len(t, list.Servers, 1)
}

func checkRescueAndChange(t *testing.T, d *Daemon, c *v1.Client, get func(string) string) {
	ctx := t.Context()
	_, err := c.NextBoot(ctx, "web-1", "nonsense")
	require.ErrorContains(t, err, "no way to boot")
	s, err := c.NextBoot(ctx, "web-1", "rescue")
	require.NoError(t, err)
	require.Equal(t, "rescue", s.Next)
	script := get("script?mac=52-54-00-00-00-01")
	require.Contains(t, script, "rescue.target")
	_, rest, _ := strings.Cut(script, "kernel b/")
	id, _, _ := strings.Cut(rest, "/")
	require.Equal(t, "the kernel", get("b/"+id+"/kernel"))
	require.NotContains(t, get("script?mac=52-54-00-00-00-01"), "rescue.target", "once")

	disk, err := d.store.OpenVolume(ctx, "web-1")
	require.NoError(t, err)
	require.NoError(t, disk.WriteAt(ctx, []byte("another kernel"), 4096, false))
	require.NoError(t, disk.Close())
	list, err := c.Boot(ctx)
	require.NoError(t, err)
	require.True(t, list.Servers[0].Changed)
	require.False(t, list.Servers[1].Changed)
	key, err := c.PutBootFiles(ctx, bootArchive(t, goodFiles()))
	require.NoError(t, err)
	s, err = c.RefreshBoot(ctx, "web-1", key)
	require.NoError(t, err)
	require.False(t, s.Changed)
}

func TestBootFilesAreChecked(t *testing.T) {
	d, err := Open(t.TempDir(), Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	c := d.Embed()
	defer func() { require.NoError(t, c.Close()) }()
	for want, archive := range map[string]io.Reader{
		"breaks off":               strings.NewReader("no archive"),
		"kernel is not what":       bootArchive(t, map[string]string{"kernel": "the kerne1", "initrd": "the initrd"}),
		"there is no place":        bootArchive(t, map[string]string{"../kernel": "the kernel"}),
		"breaks off, or is none: ": bootArchive(t, map[string]string{"kernel": "the kernel"}),
	} {
		_, err := c.PutBootFiles(t.Context(), archive)
		require.ErrorContains(t, err, want)
	}
	left, err := os.ReadDir(d.bootDir(bootFilesDir))
	require.NoError(t, err)
	require.Empty(t, left)
	_, err = d.store.CreateVolume(t.Context(), blockstore.CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	for want, req := range map[string]v1.BootRequest{
		"there are none of this key":   {MACs: []string{"52:54:00:00:00:01"}, Files: strings.Repeat("a", 64)},
		"no key of them":               {MACs: []string{"52:54:00:00:00:01"}, Files: "../../x"},
		"say which server":             {Files: strings.Repeat("a", 64)},
		"is set by the boot itself":    {MACs: []string{"52:54:00:00:00:01"}, Options: "root=/dev/sda", Files: strings.Repeat("a", 64)},
		"is the address of no single ": {MACs: []string{"ff:ff:ff:ff:ff:ff"}, Files: strings.Repeat("a", 64)},
	} {
		_, err := c.AssignBoot(t.Context(), "v", req)
		require.ErrorContains(t, err, want)
	}
}

// TestBootKeysStayInside: no key leads out of the directory of boot files, to a
// description that somebody laid down elsewhere, be it a client's or on disk.
func TestBootKeysStayInside(t *testing.T) {
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	d, err := Open(dir, Options{Logger: quiet})
	require.NoError(t, err)
	c := d.Embed()
	_, err = d.store.CreateVolume(t.Context(), blockstore.CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	key, err := c.PutBootFiles(t.Context(), bootArchive(t, goodFiles()))
	require.NoError(t, err)
	_, err = c.AssignBoot(t.Context(), "v", v1.BootRequest{MACs: []string{"52:54:00:00:00:01"}, Files: key})
	require.NoError(t, err)
	require.NoError(t, os.CopyFS(d.bootDir("elsewhere"), os.DirFS(d.bootDir(bootFilesDir, key))))
	for _, bad := range []string{"../elsewhere", "../../..", "..", ".", "/", key + "/../../elsewhere", strings.ToUpper(key[:63]) + "G", strings.Repeat("../", 21) + "."} {
		_, err := c.RefreshBoot(t.Context(), "v", bad)
		require.ErrorContains(t, err, "is no key of them", bad)
		_, err = c.AssignBoot(t.Context(), "v", v1.BootRequest{MACs: []string{"52:54:00:00:00:01"}, Files: bad})
		require.ErrorContains(t, err, "is no key of them", bad)
	}
	_, err = c.RefreshBoot(t.Context(), "v", strings.Repeat("a", 64))
	require.ErrorContains(t, err, "there are none of this key")
	r := d.boots.list()[0]
	require.Equal(t, key, r.Files, "as it was")
	r.Files = "../elsewhere"
	require.NoError(t, d.boots.write(r))
	require.NoError(t, c.Close())
	require.NoError(t, d.Close())
	s, err := openBootRecords(filepath.Join(dir, "boot", "servers"), quiet, true)
	require.NoError(t, err)
	require.Empty(t, s.list())
	require.Equal(t, 1, s.unread)
}

func TestBootRecordsAreDurable(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "boot", "servers")
	quiet := slog.New(slog.DiscardHandler)
	s, err := openBootRecords(dir, quiet, false)
	require.NoError(t, err)
	r := bootRecord{Volume: "web", VolumeID: "7", MACs: []string{"52:54:00:00:00:01"}, Serial: "S", Files: strings.Repeat("a", 64), Secret: "x", TokenID: "t", Created: time.Unix(1, 0).UTC()}
	_, err = s.put(r)
	require.NoError(t, err)
	_, err = s.put(bootRecord{Volume: "other", VolumeID: "8", Serial: "S"})
	require.ErrorIs(t, err, errTaken)
	fi, err := os.Stat(s.path("7"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), fi.Mode())
	require.NoError(t, os.WriteFile(s.path("7")+newSuffix, nil, 0o600))
	require.NoError(t, os.WriteFile(s.path("9"), []byte("{"), 0o600))
	s, err = openBootRecords(dir, quiet, false)
	require.NoError(t, err)
	require.Equal(t, []bootRecord{r}, s.list())
	got, err := s.find(netboot.Identity{MAC: "52:54:00:00:00:01"})
	require.NoError(t, err)
	require.Equal(t, r, got)
	_, err = s.find(netboot.Identity{MAC: "52:54:00:00:00:01", Serial: "T"})
	require.ErrorIs(t, err, netboot.ErrConflict)
	_, err = s.find(netboot.Identity{MAC: "52:54:00:00:00:02"})
	require.ErrorIs(t, err, netboot.ErrUnknown)
	require.NoError(t, s.remove(bootRecord{VolumeID: "7", TokenID: "older"}))
	require.Len(t, s.list(), 1)
	require.NoError(t, s.remove(r))
	_, err = s.find(netboot.Identity{Serial: "S"})
	require.ErrorIs(t, err, netboot.ErrUnknown)
}

func TestAuditsAreBounded(t *testing.T) {
	t.Parallel()
	var h hourly
	at, taken := time.Unix(1e9, 0), 0
	for range 3 * mostAudits {
		if h.take(at, mostAudits) {
			taken++
		}
	}
	require.Equal(t, mostAudits, taken)
	require.True(t, h.take(at.Add(time.Hour+1), mostAudits))
}

func TestSecretNeedsAListener(t *testing.T) {
	t.Parallel()
	d := &Daemon{boots: &bootRecords{}}
	d.boots.mu.byID = map[string]*bootRecord{"1": {VolumeID: "1", TokenID: "t", Secret: "s"}}
	_, _, err := (&bootHost{d: d}).Secret(t.Context(), "1/t", netip.MustParseAddr("10.0.0.1"))
	require.ErrorContains(t, err, "--nbd 10.0.0.1:10809")
}
