package step

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/attribute"
)

const fstabText = "# comment\nUUID=1234  /      ext4\terrors=remount-ro 0 1\n/dev/sdb1 /old ext4 defaults 0 2\n" +
	"/dev/sda5 none swap sw\n/dev/sdc1 /data xfs\ndamaged\nserver:/with\\040blank /mnt/a\\040b nfs defaults 0 0"

func TestFstab(t *testing.T) {
	d := debian(t, map[string]string{"/etc/fstab": fstabText})
	apply(t, d, Step{Fstab: &Fstab{
		Remove: []string{"/old", "/dev/sda5", "/none", ""},
		Mounts: []Mount{
			{Device: "UUID=1234", Dir: "/", Type: "ext4", Options: "errors=remount-ro", Pass: 1}, // as it is
			{Device: "/dev/sdc1", Dir: "/data", Type: "xfs"},
			{Device: "server:/x y", Dir: "/mnt/a b", Type: "nfs"},
			{Device: "LABEL=@Name@", Dir: "/srv/new", Type: "ext4", Options: "nofail", Pass: 2},
			{Device: "/dev/vg/swap", Type: "swap"},
		},
	}}, values(t))
	require.Equal(t, "# comment\nUUID=1234  /      ext4\terrors=remount-ro 0 1\n/dev/sdc1 /data xfs\ndamaged\n"+
		"server:/x\\040y /mnt/a\\040b nfs defaults 0 0\nLABEL=web-1.example.org /srv/new ext4 nofail 0 2\n/dev/vg/swap none swap defaults 0 0\n", d.text(t, "/etc/fstab"))
	for _, dir := range []string{"/srv/new", "/data", "/mnt/a b"} {
		info, err := d.Stat(context.Background(), dir)
		require.NoError(t, err)
		require.True(t, info.Mode.IsDir())
	}
	only := debian(t, map[string]string{"/etc/fstab": "/dev/sda1 /a ext4"})
	apply(t, only, Step{Fstab: &Fstab{Remove: []string{"/a"}, Mounts: []Mount{{Device: "x", Dir: "/b", Type: "ext4"}}}}, values(t))
	require.Equal(t, "x /b ext4 defaults 0 0\n", only.text(t, "/etc/fstab"))
	for _, text := range []string{"", "# no newline"} {
		none := debian(t, map[string]string{"/etc/fstab": text})
		apply(t, none, Step{Fstab: &Fstab{Mounts: []Mount{{Device: "/dev/sda2", Dir: "/x", Type: "ext4"}}}}, values(t))
		if text != "" {
			text += "\n"
		}
		require.Equal(t, text+"/dev/sda2 /x ext4 defaults 0 0\n", none.text(t, "/etc/fstab"))
	}
}

func TestWrongFstab(t *testing.T) {
	for want, m := range map[string]Mount{
		"has no device":         {Dir: "/a", Type: "ext4"},
		"is no directory":       {Device: "x", Dir: "a", Type: "ext4"},
		"no directory to mount": {Device: "x", Dir: "/a/../b", Type: "ext4"},
		"is not one word: \"\"": {Device: "x", Dir: "/a"},
		"is not one word":       {Device: "x", Dir: "/a", Type: "ext4", Options: "ro 0 0\n/dev/sdb"},
		"write none":            {Device: "x", Dir: "/a", Type: "swap"},
		"pass 10":               {Device: "x", Dir: "/a", Type: "ext4", Pass: 10},
		"has several lines":     {Device: "x\ny", Dir: "/a", Type: "ext4"},
		"no attribute \"Oops\"": {Device: "@Oops@", Dir: "/a", Type: "ext4"},
	} {
		_, err := Step{Fstab: &Fstab{Mounts: []Mount{m}}}.Plan(context.Background(), debian(t, nil), values(t))
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, attribute.ErrInvalid)
	}
	_, err := Step{Fstab: &Fstab{}}.Plan(context.Background(), debian(t, nil), values(t))
	require.ErrorContains(t, err, "neither mounts nor remove")
}
