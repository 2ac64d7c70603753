package disk

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

// made is a file that sfdisk has put a table on.
func made(t *testing.T, size int64, script string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	require.NoError(t, f.Truncate(size))
	run(t, script, "sfdisk", "--quiet", f.Name())
	return f
}

func run(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Stdin = strings.NewReader(input)
	c.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	var out, problems bytes.Buffer
	c.Stdout, c.Stderr = &out, &problems
	require.NoError(t, c.Run(), "%s: %s%s", name, out.String(), problems.String())
	return out.String()
}

// listed is a table as sfdisk lists it.
type listed struct {
	Label      string
	ID         string
	LastLBA    int64
	SectorSize int64
	Partitions []struct {
		Node        string
		Start, Size int64
		Type, UUID  string
		Name        string
		Bootable    bool
	}
}

func list(t *testing.T, f *os.File) listed {
	t.Helper()
	var answer struct{ PartitionTable listed }
	require.NoError(t, json.Unmarshal([]byte(run(t, "", "sfdisk", "--json", f.Name())), &answer))
	return answer.PartitionTable
}

// requireSame compares what we read with what sfdisk lists.
func requireSame(t *testing.T, want listed, got *Table) {
	t.Helper()
	require.Len(t, got.Partitions, len(want.Partitions))
	number := regexp.MustCompile(`\d+$`)
	for i, w := range want.Partitions {
		p := got.Partitions[i]
		require.Equal(t, number.FindString(w.Node), strconv.Itoa(p.Number))
		require.Equal(t, w.Start*want.SectorSize, p.Start, w.Node)
		require.Equal(t, w.Size*want.SectorSize, p.Size, w.Node)
		require.Equal(t, w.Bootable, p.Active, w.Node)
		if got.Scheme == GPT {
			require.Equal(t, w.Type, p.Type.String())
			require.Equal(t, w.UUID, p.GUID.String())
			require.Equal(t, w.Name, p.Name)
		} else {
			require.Equal(t, w.Type, strconv.FormatUint(uint64(p.ID), 16))
		}
	}
}

const (
	gptScript = `label: gpt
size=4MiB, type=U, name="EFI System"
size=8MiB, type=L, name="wörld 💾"
type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
`
	// As Debian's cloud images: the first partition is the last on the disk.
	cloudScript = `label: gpt
15 : start=2048, size=4MiB, type=U
1 : start=20480, type=L
`
	mbrScript = `label: dos
label-id: 0x12345678
size=4MiB, type=c, bootable
type=83
`
	extendedScript = `label: dos
size=4MiB, type=83
type=5
size=4MiB, type=83
size=4MiB, type=82
type=83
`
)

func TestReadWhatSfdiskWrites(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{"gpt": gptScript, "cloud": cloudScript, "mbr": mbrScript, "extended": extendedScript,
		"empty gpt": "label: gpt\n", "empty mbr": "label: dos\n", "empty extended": "label: dos\ntype=5\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := made(t, 64*mib, script)
			got, err := Read(f, 64*mib)
			require.NoError(t, err)
			require.NoError(t, got.Damage)
			want := list(t, f)
			require.Equal(t, want.Label == "gpt", got.Scheme == GPT)
			if got.Scheme == GPT {
				require.Equal(t, want.ID, got.GUID.String())
			} else {
				id, err := strconv.ParseUint(want.ID, 0, 32)
				require.NoError(t, err)
				require.EqualValues(t, id, got.Signature)
			}
			requireSame(t, want, got)
		})
	}
}

func TestReadSectorsOf4KiB(t *testing.T) {
	t.Parallel()
	f := made(t, 64*mib, "label: dos\n")
	run(t, "g\nn\n1\n\n+8M\nn\n2\n\n\nw\n", "fdisk", "-b", "4096", f.Name())
	got, err := Read(f, 64*mib)
	require.NoError(t, err)
	require.NoError(t, got.Damage)
	require.Equal(t, 4096, got.SectorSize)
	require.Len(t, got.Partitions, 2)
	first, _ := got.Partition(1)
	second, _ := got.Partition(2)
	require.EqualValues(t, []int64{mib, 8 * mib, 9 * mib}, []int64{first.Start, first.Size, second.Start})
}

func TestReadWithEitherCopy(t *testing.T) {
	t.Parallel()
	for _, broken := range []int64{512, 600, 1024, 64*mib - 512, 64*mib - 33*512} {
		f := made(t, 64*mib, gptScript)
		want := list(t, f)
		_, err := f.WriteAt([]byte{0xA5, 0x5A, 0xA5}, broken)
		require.NoError(t, err)
		got, err := Read(f, 64*mib)
		require.NoError(t, err, "byte %d", broken)
		require.ErrorIs(t, got.Damage, ErrCorrupt, "byte %d", broken)
		requireSame(t, want, got)
	}
}

// A disk that has grown has its backup somewhere in the middle.
func TestReadGrownWithDamage(t *testing.T) {
	t.Parallel()
	f := made(t, 64*mib, gptScript)
	want := list(t, f)
	require.NoError(t, f.Truncate(128*mib))
	got, err := Read(f, 128*mib)
	require.NoError(t, err)
	require.NoError(t, got.Damage)
	_, err = f.WriteAt([]byte{1}, 1024+3)
	require.NoError(t, err)
	got, err = Read(f, 128*mib)
	require.NoError(t, err)
	require.ErrorIs(t, got.Damage, ErrCorrupt)
	requireSame(t, want, got)
}
