package sandbox

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/sandbox/wire"
)

var (
	damageSeed  = flag.Uint64("damage.seed", 1, "first seed of TestDamagedDisks")
	damageSeeds = flag.Uint64("damage.seeds", 6, "how many seeds of each kind")
)

// TestDamagedDisks opens disks that were damaged at random, by seed: every one is
// answered, with files or with an error, and within the limit. The kernel may panic;
// its cell says so.
func TestDamagedDisks(t *testing.T) {
	long(t)
	linux, plain := seedLinux(t), seed(t)
	for kind, disk := range map[string]string{
		"ext4":  assemble(t, part{mib: 48, image: makeFS(t, "ext4", 48*mib, linux)}),
		"xfs":   assemble(t, part{mib: 300, image: makeFS(t, "xfs", 300*mib, plain)}),
		"btrfs": assemble(t, part{mib: 128, image: makeFS(t, "btrfs", 128*mib, linux)}),
		"vfat":  assemble(t, part{mib: 64, image: makeFS(t, "vfat", 64*mib, plain)}),
		"lvm":   lvmDisk(t, plain),
	} {
		for n := range *damageSeeds {
			seed := *damageSeed + n
			t.Run(fmt.Sprintf("%s/%d", kind, seed), func(t *testing.T) {
				damaged := copyOf(t, disk)
				damage(t, damaged, kind, seed)
				began := time.Now()
				t.Logf("%v: %v", openDamaged(t, damaged), time.Since(began))
			})
		}
	}
}

func lvmDisk(t *testing.T, dir string) string {
	disk := assemble(t, part{mib: 64, image: makeFS(t, "ext4", 48*mib, dir), skip: mib})
	c := start(t, Config{Disk: disk})
	ctx := patience(t)
	_, err := c.LVM(ctx, "vgcreate", "-q", "rhel", "/dev/sda1")
	require.NoError(t, err)
	_, err = c.LVM(ctx, "lvcreate", "-q", "-Zn", "-Wn", "-L", "52M", "-n", "root", "rhel")
	require.NoError(t, err)
	require.NoError(t, c.Close(ctx))
	return disk
}

// damage flips bytes and wipes sectors, most of them where there is something. Each
// third seed hits the partition table too.
func damage(t *testing.T, disk, kind string, seed uint64) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	r := rand.New(rand.NewPCG(seed, 77))
	data := dataSectors(t, f)
	first := 0
	for first < len(data) && data[first] < mib { // the partition table
		first++
	}
	if seed%3 == 0 {
		first = 0
	}
	for range 1 + r.IntN(60) {
		sector := make([]byte, 512)
		at := data[first+r.IntN(len(data)-first)]
		_, err := f.ReadAt(sector, at)
		require.NoError(t, err)
		switch r.IntN(3) {
		case 0:
			clear(sector)
		case 1:
			sector[r.IntN(512)] ^= byte(1 + r.IntN(255))
		default:
			for range 1 + r.IntN(16) {
				sector[r.IntN(512)] = byte(r.IntN(256))
			}
		}
		_, err = f.WriteAt(sector, at)
		require.NoError(t, err)
	}
}

// dataSectors lists the sectors that are not zero, those of large files left out.
func dataSectors(t *testing.T, f *os.File) (list []int64) {
	t.Helper()
	const most = 20000
	buf := make([]byte, mib)
	for at := int64(0); len(list) < most; at += mib {
		n, err := f.ReadAt(buf, at)
		for s := 0; s+512 <= n; s += 512 {
			if strings.Trim(string(buf[s:s+512]), "\x00") != "" {
				list = append(list, at+int64(s))
			}
		}
		if err != nil {
			break
		}
	}
	return list
}

// openDamaged does what a deployment does with a disk, as far as it gets.
func openDamaged(t *testing.T, disk string) error {
	t.Helper()
	c, err := tryStart(t, Config{Disk: disk, Deadline: 3 * time.Minute})
	if err != nil {
		return allowed(t, err)
	}
	defer func() { c.Kill(); _ = c.Wait() }()
	ctx := patience(t)
	list, err := c.Filesystems(ctx)
	if err != nil {
		return allowed(t, err)
	}
	var errs []error
	for _, f := range list {
		if _, err := c.Mount(ctx, f.Device, "/", ReadWrite, ""); err != nil {
			errs = append(errs, allowed(t, err))
			continue
		}
		_, walkErr := c.Walk(ctx, "/")
		_, readErr := c.ReadFile(ctx, "/etc/hostname")
		writeErr := c.Write(ctx, "/etc/hostname", strings.NewReader(strings.Repeat("changed ", 5000)), 0o644)
		removeErr := c.RemoveAll(ctx, "/home")
		for _, err := range []error{walkErr, readErr, writeErr, removeErr, c.UnmountAll(ctx)} {
			errs = append(errs, allowed(t, err))
		}
	}
	return errors.Join(append(errs, allowed(t, c.Close(ctx)))...)
}

// allowed are errors of commands, and of a kernel that did not survive; neither the
// limit nor a broken protocol.
func allowed(t *testing.T, err error) error {
	t.Helper()
	for _, never := range []error{ErrDeadline, wire.ErrProtocol, ErrTooLong} {
		require.False(t, errors.Is(err, never), "%v", err)
	}
	require.NoError(t, t.Context().Err())
	return err
}
