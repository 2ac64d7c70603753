package netboot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"goldstream/netboot/initramfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// farm knows two servers by their MAC addresses.
type farm struct {
	records map[string]Record
	files   Files
	began   []string
	refused []string
	asked   int // whether a volume has changed
}

const (
	mac1, mac2 = "52:54:00:00:00:01", "52:54:00:00:00:02"
	theSecret  = "abcdefsecret"
)

func newFarm() *farm {
	f := &farm{records: map[string]Record{mac1: {ID: "1", Volume: "web-1"}, mac2: {ID: "2", Volume: "web-2"}}}
	f.files = Files{Options: "root=LABEL=root rw quiet", Modules: []string{"module-00.ko"}, Open: func(name string) (io.ReadCloser, int64, error) {
		text := "the " + name
		return io.NopCloser(strings.NewReader(text)), int64(len(text)), nil
	}}
	return f
}

func (f *farm) Server(_ context.Context, id Identity) (Record, error) {
	if id.Serial == "twice" {
		return Record{}, ErrConflict
	}
	if r, ok := f.records[id.MAC]; ok {
		return r, nil
	}
	return Record{}, ErrUnknown
}
func (f *farm) Record(_ context.Context, id string) (Record, error) {
	for _, r := range f.records {
		if r.ID == id {
			return r, nil
		}
	}
	return Record{}, ErrUnknown
}
func (f *farm) BootFiles(context.Context, string) (Files, error) { return f.files, nil }
func (f *farm) Changed(context.Context, string) bool             { f.asked++; return true }
func (f *farm) Secret(context.Context, string, netip.Addr) (string, string, error) {
	return theSecret, "10.0.0.1:10809", nil
}
func (f *farm) Began(_ context.Context, record string) { f.began = append(f.began, record) }
func (f *farm) Refused(_ context.Context, from netip.Addr, _ Identity, why string) {
	f.refused = append(f.refused, from.String()+": "+why)
}

type lab struct {
	t *testing.T
	*farm
	h   *Handler
	now time.Time
}

func newLab(t *testing.T) *lab {
	l := &lab{t: t, farm: newFarm(), now: time.Unix(1e9, 0)}
	l.h = NewHandler(Options{Host: l.farm, Helper: func() ([]byte, error) { return []byte("helper"), nil }, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return l.now }})
	return l
}

func (l *lab) do(method, path, from string) *httptest.ResponseRecorder {
	l.t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, "http://10.0.0.1:8480"+Prefix+path, nil)
	r.RemoteAddr = from + ":1000"
	l.h.ServeHTTP(w, r)
	return w
}

func (l *lab) script(query, from string) string {
	l.t.Helper()
	w := l.do("GET", "script?"+query, from)
	require.Equal(l.t, http.StatusOK, w.Code)
	require.True(l.t, strings.HasPrefix(w.Body.String(), "#!ipxe\n"))
	require.NotContains(l.t, w.Body.String(), theSecret)
	return w.Body.String()
}

// bootOf is the path of a script's files.
func (l *lab) bootOf(script string) string {
	l.t.Helper()
	_, rest, ok := strings.Cut(script, "kernel b/")
	require.True(l.t, ok, "%s", script)
	id, _, _ := strings.Cut(rest, "/")
	return "b/" + id + "/"
}

func TestBootOfAServer(t *testing.T) {
	l := newLab(t)
	require.Contains(t, l.do("GET", "boot.ipxe", "10.0.0.9").Body.String(), "chain")
	s := l.script("mac=52-54-00-00-00-01&uuid=&serial=", "10.0.0.9")
	require.Contains(t, s, "rw quiet root=LABEL=root boot=goldstream BOOTIF=01-52-54-00-00-00-01")
	boot := l.bootOf(s)
	require.Equal(t, "the kernel", l.do("GET", boot+"kernel", "10.0.0.9").Body.String())
	l.now = l.now.Add(time.Second)
	initrd := l.do("GET", boot+"initrd", "10.0.0.9").Body.Bytes()
	require.True(t, bytes.HasPrefix(initrd, []byte("the initrd\x00\x00070701")))
	require.Contains(t, string(initrd), theSecret)
	require.Equal(t, http.StatusNoContent, l.do("POST", boot+"stage/"+initramfs.StageAttached, "10.0.0.10").Code)
	require.Equal(t, http.StatusNotFound, l.do("POST", boot+"stage/anything", "10.0.0.9").Code)
	last, ok := l.h.Last("1")
	require.True(t, ok)
	var names []string
	for _, stage := range last.Stages {
		names = append(names, stage.Name)
	}
	require.Equal(t, []string{StageScript, StageKernel, StageInitrd, initramfs.StageAttached}, names)
	require.True(t, last.Changed)
	require.Equal(t, 1, l.asked, "kernel and initrd need no comparison")
	require.Equal(t, time.Second, last.Stages[2].Time.Sub(last.Stages[0].Time))
	require.Empty(t, l.refused)
}

// TestAnothersBoot: nobody gets files of a boot that is another's, nor a boot by an
// identity that is another's in part.
func TestAnothersBoot(t *testing.T) {
	l := newLab(t)
	boot := l.bootOf(l.script("mac="+mac1, "10.0.0.9"))
	for _, path := range []string{"kernel", "initrd"} {
		w := l.do("GET", boot+path, "10.0.0.66")
		require.Equal(t, http.StatusNotFound, w.Code)
		require.NotContains(t, w.Body.String(), theSecret)
	}
	require.Equal(t, http.StatusNotFound, l.do("POST", "b/0123/stage/attached", "10.0.0.9").Code)
	require.Len(t, l.refused, 2)
	require.Contains(t, l.refused[0], "10.0.0.66: files of volume web-1")
	require.Contains(t, l.script("mac="+mac1+"&serial=twice", "10.0.0.66"), "Refused")
	require.Len(t, l.refused, 3)

	l.records[mac2] = Record{ID: "2", Volume: "web-2", Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/28")}}
	require.Contains(t, l.script("mac="+mac2, "10.0.0.66"), "Refused")
	require.Len(t, l.refused, 4)
	l.bootOf(l.script("mac="+mac2, "10.0.0.7"))

	l.records[mac1] = Record{ID: "1", Volume: "web-1", Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/29")}}
	require.Equal(t, http.StatusNotFound, l.do("GET", boot+"initrd", "10.0.0.9").Code, "it may ask no more")
	l.records[mac1] = Record{ID: "1", Volume: "web-1"}

	l.now = l.now.Add(bootLife + time.Second)
	require.Equal(t, http.StatusNotFound, l.do("GET", boot+"kernel", "10.0.0.9").Code, "a boot lives for a while only")
	boot = l.bootOf(l.script("mac="+mac1, "10.0.0.9"))
	l.h.Forget("1")
	require.Equal(t, http.StatusNotFound, l.do("GET", boot+"initrd", "10.0.0.9").Code, "its record is gone")
}

func TestStrangers(t *testing.T) {
	l := newLab(t)
	for range 2 {
		s := l.script("mac=52:54:00:00:00:99&uuid=00000000-0000-0000-0000-000000000000&serial=${net0/ip}", "10.0.0.9")
		require.Contains(t, s, "not known to goldstream: MAC 52:54:00:00:00:99\n")
	}
	list := l.h.Strangers()
	require.Len(t, list, 1)
	require.Equal(t, 2, list[0].Times)
	require.Equal(t, Identity{MAC: "52:54:00:00:00:99"}, list[0].Identity)
	require.Contains(t, l.script("mac=nonsense", "10.0.0.9"), "does not say who it is")
	for i := range mostStrangers + 10 {
		l.now = l.now.Add(time.Second)
		l.h.boots.stranger(Identity{Serial: strings.Repeat("x", 1+i%60) + string(rune('a'+i%26)) + time.Duration(i).String()}, netip.Addr{})
	}
	require.Len(t, l.h.Strangers(), mostStrangers)
}

func TestModes(t *testing.T) {
	l := newLab(t)
	l.records[mac1] = Record{ID: "1", Volume: "web-1", Mode: ModeRescue, Options: "console=ttyS1"}
	s := l.script("mac="+mac1, "10.0.0.9")
	require.Contains(t, s, "systemd.unit=rescue.target console=ttyS1 ||")
	require.Empty(t, l.began, "the server has not begun")
	l.do("GET", l.bootOf(s)+"kernel", "10.0.0.9")
	require.Equal(t, []string{"1"}, l.began)
	l.records[mac1] = Record{ID: "1", Volume: "web-1", Mode: ModeLocal}
	require.Contains(t, l.script("mac="+mac1, "10.0.0.9"), "sanboot")
	require.Equal(t, []string{"1", "1"}, l.began)
}

func TestNoRoot(t *testing.T) {
	l := newLab(t)
	l.files.Options = "root=/dev/sda2 quiet"
	require.Contains(t, l.script("mac="+mac1, "10.0.0.9"), "cannot be booted")
	last, _ := l.h.Last("1")
	require.NotEmpty(t, last.Problem)
	l.files.Root = "UUID=1234"
	require.Contains(t, l.script("mac="+mac1, "10.0.0.9"), "initrd=initrd quiet root=UUID=1234 boot=goldstream")
}

// TestHostileOptions: what a disk says never becomes a command of a script.
func TestHostileOptions(t *testing.T) {
	line, err := commandLine(Files{Root: "LABEL=x", Options: "a || shell && b ; c ${net0/ip} #d e=#f ip=1 boot=live\x01"}, Record{}, "")
	require.NoError(t, err)
	require.Equal(t, "a shell b c e=#f root=LABEL=x boot=goldstream", line)
	_, err = commandLine(Files{Root: "LABEL=${x}"}, Record{}, "")
	require.ErrorIs(t, err, ErrNotBootable)
	_, err = commandLine(Files{Root: "LABEL=x", Options: strings.Repeat("a ", mostOptions)}, Record{}, "")
	require.ErrorIs(t, err, ErrNotBootable)
	require.Equal(t, "echo a ? b ??x? ??", strings.Split(screen("a || b ${x} \n#"), "\n")[2])
	require.Error(t, CheckOptions("x || y"))
	require.Error(t, CheckOptions("root=/dev/sda"))
	require.NoError(t, CheckOptions("console=ttyS0,115200n8 quiet"))
}

func TestIdentities(t *testing.T) {
	id, err := ParseIdentity("52-54-00-AB-00-01", "0123ABCD-0000-1111-2222-333344445555", " SN 1 ")
	require.NoError(t, err)
	require.Equal(t, Identity{"52:54:00:ab:00:01", "0123abcd-0000-1111-2222-333344445555", "SN 1"}, id)
	for _, bad := range [][3]string{
		{}, {"1"}, {"00:00:00:00:00:00"}, {"ff:ff:ff:ff:ff:ff"}, {"01:00:5e:00:00:01"}, {"", "zzz"}, {"", "", "a\nb"}, {"", "", "${x}"},
		{"", "", strings.Repeat("x", mostSerial+1)}, {"", "ffffffff-ffff-ffff-ffff-ffffffffffff", "None"}, {"00:00:00:00:00:00:00:01"},
	} {
		_, err := ParseIdentity(bad[0], bad[1], bad[2])
		require.ErrorIs(t, err, ErrIdentity, "%q", bad)
	}
}

// TestArchive has another program unpack a segment.
func TestArchive(t *testing.T) {
	f := newFarm().files
	a, err := segment(f, initramfs.Config{Server: "10.0.0.1:10809", Device: "/dev/nbd0", Stages: "http://x/"}, theSecret, bytes.Repeat([]byte("h"), 1001))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "scripts"), 0o755))
	cmd := exec.Command("busybox", "cpio", "-i")
	cmd.Dir, cmd.Stdin = dir, a.reader()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	n, err := io.Copy(io.Discard, a.reader())
	require.NoError(t, err)
	require.Equal(t, a.size, n)
	require.Zero(t, n%4)
	for name, want := range map[string]os.FileMode{initramfs.Helper: 0o755, initramfs.TokenFile: 0o600, initramfs.ConfigFile: 0o600, initramfs.Dir: os.ModeDir | 0o700, "scripts/goldstream": 0o644} {
		fi, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, fi.Mode(), name)
	}
	module, err := os.ReadFile(filepath.Join(dir, initramfs.Dir, "modules/00.ko"))
	require.NoError(t, err)
	require.Equal(t, "the module-00.ko", string(module))
	text, err := os.ReadFile(filepath.Join(dir, initramfs.ConfigFile))
	require.NoError(t, err)
	c, err := initramfs.ParseConfig(string(text))
	require.NoError(t, err)
	require.Equal(t, "10.0.0.1:10809", c.Server)
	require.NoError(t, exec.Command("sh", "-n", filepath.Join(dir, "scripts/goldstream")).Run())
}

func TestFilesThatFail(t *testing.T) {
	l := newLab(t)
	boot := l.bootOf(l.script("mac="+mac1, "10.0.0.9"))
	l.files.Open = func(string) (io.ReadCloser, int64, error) { return nil, 0, errors.New("gone") }
	require.Equal(t, http.StatusServiceUnavailable, l.do("GET", boot+"kernel", "10.0.0.9").Code)
	require.Equal(t, http.StatusServiceUnavailable, l.do("GET", boot+"initrd", "10.0.0.9").Code)
	l.files.Open = func(string) (io.ReadCloser, int64, error) { return io.NopCloser(strings.NewReader("short")), 100, nil }
	l.files.Open = func(name string) (io.ReadCloser, int64, error) {
		p := make([]byte, 5<<20)
		return io.NopCloser(bytes.NewReader(p)), int64(len(p)), nil
	}
	l.files.Modules = []string{"a.ko"}
	_, err := segment(l.files, initramfs.Config{}, theSecret, nil)
	require.NoError(t, err)
	l.files.Modules = []string{"a.ko", "b.ko"}
	_, err = segment(l.files, initramfs.Config{}, theSecret, nil)
	require.ErrorContains(t, err, "too large")
	l.files.Open = func(string) (io.ReadCloser, int64, error) { return io.NopCloser(strings.NewReader("short")), 100, nil }
	require.PanicsWithError(t, http.ErrAbortHandler.Error(), func() { l.do("GET", boot+"kernel", "10.0.0.9") })
}
