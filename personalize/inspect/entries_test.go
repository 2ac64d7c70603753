package inspect

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func TestGrubConfig(t *testing.T) {
	t.Parallel()
	list := parseGrub(`
set default=0
menuentry 'Debian GNU/Linux' --class debian {
	insmod ext2
	linux	/boot/vmlinuz-6.1.0-50-amd64 root=UUID=1234 ro  quiet ${extra} $known
	initrd	/boot/initrd.img-6.1.0-50-amd64
}
submenu 'Advanced' {
	menuentry "old one" { 
		linux16 /boot/vmlinuz-5.10 root=/dev/vda1
	}
	menuentry bare {
		linux relative/kernel x=y
		linux /has/`+"\x1b"+`escape x=y
	}
}`, "grub.cfg", map[string]string{"known": "a=b c"})
	require.Equal(t, []Entry{
		{"grub.cfg", "Debian GNU/Linux", "/boot/vmlinuz-6.1.0-50-amd64", "root=UUID=1234 ro quiet a=b c"},
		{"grub.cfg", "old one", "/boot/vmlinuz-5.10", "root=/dev/vda1"},
	}, list)
	require.Len(t, parseGrub(strings.Repeat("linux /k a\n", 1000), "", nil), mostEntries)
}

func TestBLS(t *testing.T) {
	t.Parallel()
	e, ok := parseBLS("title Fedora \u202e\nlinux /vmlinuz-6.5\noptions $kernelopts\noptions quiet\n", "f.conf", parseGrubenv("# env\nkernelopts=root=UUID=1 ro\n#####"))
	require.True(t, ok)
	require.Equal(t, Entry{"f.conf", "Fedora ?", "/vmlinuz-6.5", "root=UUID=1 ro quiet"}, e)
	_, ok = parseBLS("title Windows\nefi /EFI/Microsoft\n", "", nil)
	require.False(t, ok)
	_, ok = parseBLS("linux /k\noptions "+strings.Repeat("x", mostOptions+1), "", nil)
	require.False(t, ok)
	_, ok = parseBLS("linux /k\noptions a\x00b", "", nil)
	require.False(t, ok)
}

func TestExtlinux(t *testing.T) {
	t.Parallel()
	list := parseExtlinux("append before any label\nDEFAULT two\nLABEL one\n KERNEL /a\n APPEND x\nLABEL two\n MENU LABEL The second\n LINUX /b\nLABEL three\n APPEND no kernel\n", "e")
	require.Equal(t, []Entry{{"e", "The second", "/b", ""}, {"e", "one", "/a", "x"}}, list)
	require.Len(t, parseExtlinux(strings.Repeat("label x\nlinux /k\n", 1000), ""), mostEntries)
}

func TestEntryOfKernel(t *testing.T) {
	t.Parallel()
	entries := []Entry{{Kernel: "/vmlinuz", Options: "first"}, {Kernel: "/vmlinuz-2", Options: "second"}, {Kernel: "/abc/3/linux"}}
	for version, want := range map[string]string{"2": "second", "1": "first"} {
		e, ok := entryFor(entries, version)
		require.True(t, ok)
		require.Equal(t, want, e.Options)
	}
	_, ok := entryFor(nil, "1")
	require.False(t, ok)
}

func TestNewer(t *testing.T) {
	t.Parallel()
	order := []string{"5.10.0-9-amd64", "5.10.0-10-amd64", "6.1.0-9", "6.1.0-9-amd64", "6.1.0-050-amd64", "6.1.0-51-amd64", "6.1.0-51-cloud"}
	for i, a := range order {
		for j, b := range order {
			require.Equal(t, i > j, newer(a, b) > 0, "%s %s", a, b)
			require.Equal(t, i == j, newer(a, b) == 0, "%s %s", a, b)
		}
	}
}

func TestModuleFiles(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"c.ko", "b.ko.xz", "k/nbd.ko.xz"}, needs("x/nbdx.ko: y\nk/nbd.ko.xz: b.ko.xz c.ko\n", "nbd"))
	require.Nil(t, needs("k/other.ko: b.ko\n", "nbd"))
	require.Nil(t, needs("k/nbd.ko: a\x1b.ko\n", "nbd"))

	elf := append([]byte("\x7fELF"), bytes.Repeat([]byte{1}, 1000)...)
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	_, err := w.Write(elf)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	z, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	for ending, packed := range map[string][]byte{".ko": elf, ".gz": gz.Bytes(), ".zst": z.EncodeAll(elf, nil)} {
		got, err := unpack(bytes.NewReader(packed), ending)
		require.NoError(t, err, ending)
		require.Equal(t, elf, got)
	}
	bomb := z.EncodeAll(append([]byte("\x7fELF"), make([]byte, mostModule)...), nil)
	_, err = unpack(bytes.NewReader(bomb), ".zst")
	require.ErrorContains(t, err, "more than")
	for _, ending := range []string{".xz", ".gz", ".zst", ""} {
		_, err := unpack(strings.NewReader("no module at all"), ending)
		require.Error(t, err)
	}
}
