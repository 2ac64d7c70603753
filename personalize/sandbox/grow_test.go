package sandbox

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGrowRoot grows what is mounted, as the first boot of a larger clone would have
// to; sfdisk and e2fsck judge the outcome.
func TestGrowRoot(t *testing.T) {
	ctx := patience(t)
	image := makeFS(t, "ext4", 40*mib, seed(t))
	file := makeDisk(t, 100*mib, "label: dos\nstart=1MiB, size=2MiB, type=82\nstart=3MiB, size=40MiB, type=83\n")
	copyInto(t, file, 3*mib, image)
	require.NoError(t, os.Truncate(file, 200*mib)) // the clone is larger than its image
	c := start(t, Config{Disk: file})
	_, _, err := c.GrowRoot(ctx)
	require.ErrorIs(t, err, ErrCannotGrow)
	_, err = c.Mount(ctx, "/dev/sda2", "/", ReadWrite, "")
	require.NoError(t, err)
	before, after, err := c.GrowRoot(ctx)
	require.NoError(t, err)
	require.Less(t, before, int64(40*mib))
	require.Greater(t, after, int64(170*mib))
	_, again, err := c.GrowRoot(ctx)
	require.NoError(t, err)
	require.Equal(t, after, again, "the second time nothing changes")
	require.ErrorContains(t, c.GrowPartition(ctx, "/dev/sda1"), "partition 2 stands behind partition 1")
	for _, wrong := range []string{"/dev/sda", "/dev/sdb1", "/dev/sda9", "/dev/sda1/../sda2", ""} {
		require.Error(t, c.GrowPartition(ctx, wrong), wrong)
	}
	require.NoError(t, c.Close(ctx))
	require.Contains(t, tool(t, "sfdisk", "--verify", file), "No errors detected")
	require.Contains(t, tool(t, "sfdisk", "-d", file), "start=        6144, size=      403456, type=83")
	tool(t, "e2fsck", "-fn", extract(t, file, 3*mib, 197*mib))
}

// TestGrowRootOnLVM grows a GPT's partition, the physical and the logical volume in
// it, and its file system, all in use.
func TestGrowRootOnLVM(t *testing.T) {
	ctx := patience(t)
	image := makeFS(t, "ext4", 52*mib, seed(t))
	file := assemble(t, part{mib: 8}, part{mib: 64, image: image, skip: mib})
	require.NoError(t, os.Truncate(file, 200*mib+12345*512)) // the backup table is not at the end
	c := start(t, Config{Disk: file})
	_, err := c.LVM(ctx, "vgcreate", "-q", "rhel", "/dev/sda2")
	require.NoError(t, err)
	_, err = c.LVM(ctx, "lvcreate", "-q", "-Zn", "-Wn", "-L", "52M", "-n", "root", "rhel")
	require.NoError(t, err)
	_, err = c.Mount(ctx, "/dev/rhel/root", "/", ReadWrite, "")
	require.NoError(t, err)
	before, after, err := c.GrowRoot(ctx)
	require.NoError(t, err)
	require.Less(t, before, int64(52*mib))
	require.Greater(t, after, int64(170*mib))
	_, again, err := c.GrowRoot(ctx)
	require.NoError(t, err)
	require.Equal(t, after, again)
	text, err := c.ReadFile(ctx, "/etc/hostname")
	require.NoError(t, err)
	require.Equal(t, "golden\n", string(text))
	require.NoError(t, c.Close(ctx))
	require.Contains(t, tool(t, "sfdisk", "--verify", file), "No errors detected")
	c = start(t, Config{Disk: file, ReadOnly: true})
	_, err = c.Mount(ctx, "/dev/rhel/root", "/", ReadOnly, "")
	require.NoError(t, err)
	space, err := c.StatFS(ctx, "/")
	require.NoError(t, err)
	require.EqualValues(t, after, space.Blocks*space.BlockSize)
}
