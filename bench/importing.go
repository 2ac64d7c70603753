package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// importing compares the import of a raw image, which finds zeros, takes two
// digests and is durable, with what gives the same from standard tools.
func (r *run) importing(ctx context.Context) error {
	note("import: raw image of 1 GiB")
	rounds := 5
	if r.short {
		rounds = 2
	}
	var ours, theirs []float64
	for i := range rounds {
		data, target := filepath.Join(r.dir, fmt.Sprintf("import-%d", i)), filepath.Join(r.dir, fmt.Sprintf("cp-%d", i))
		a, err := timed(func() error { return command(ctx, r.binary, "--data", data, "image", "import", "golden", r.image) })
		if err != nil {
			return err
		}
		b, err := timed(func() error {
			return command(ctx, "sh", "-c", `cp --sparse=always "$0" "$1" && sync "$1" && sha256sum "$1"`, r.image, target)
		})
		if err != nil {
			return err
		}
		ours, theirs = append(ours, 1024/a*1000), append(theirs, 1024/b*1000)
		os.RemoveAll(data)
		os.Remove(target)
	}
	l := line{What: "import of a raw image, durable, with digest", Unit: "MiB/s", Ours: median(ours), Peer: "cp --sparse + sync + sha256sum", Theirs: median(theirs), Bar: "≥ 1.0x"}
	l.Missed = l.Ours < l.Theirs
	r.report.add(l)
	return nil
}

func fdatasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
