package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// readAll copies a volume out with nbdcopy and checks that it reads as the
// golden image.
func (d *demo) readAll(ctx context.Context, name string) error {
	cmd := command(ctx, "nbdcopy", d.export(name), "-")
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	sum, err := digest(pipe)
	_, _ = io.Copy(io.Discard, pipe)
	if e := cmd.Wait(); e != nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("nbdcopy of %s: %w", name, err)
	}
	if sum != d.image.SHA256 {
		return fmt.Errorf("%s reads as %s, its image is %s", name, sum, d.image.SHA256)
	}
	took := time.Since(start)
	d.note("nbdcopy "+name, took, fmt.Sprintf("%s at %s, sha256 equals the image's", bytesOf(d.image.Size), rate(d.image.Size, took)))
	return nil
}

// What fio writes: 128 MiB at random places in the upper half of the volume,
// far beyond the end of its image; then it reads all of it back.
const (
	loadSize   = 128 << 20
	loadOffset = "512g"
)

func (d *demo) load(ctx context.Context, name string) error {
	report := filepath.Join(d.logs, "fio.json")
	start := time.Now()
	_, err := output(ctx, "fio", "--name=demo", "--ioengine=nbd", "--uri="+d.export(name),
		"--rw=randwrite", "--bs=64k", "--iodepth=16", "--offset="+loadOffset, fmt.Sprintf("--size=%d", loadSize),
		"--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--do_verify=1", "--end_fsync=1",
		"--output-format=json", "--output="+report)
	if err != nil {
		return err
	}
	wrote, read, err := fioRates(report)
	if err != nil {
		return err
	}
	d.note("fio "+name, time.Since(start), fmt.Sprintf("%s random 64 KiB: %s/s written, %s/s read back and verified",
		bytesOf(loadSize), bytesOf(wrote), bytesOf(read)))
	return nil
}

// fioRates reads bytes a second from fio's report and insists that all of the
// data was verified.
func fioRates(name string) (wrote, read int64, err error) {
	type side struct {
		Bytes int64 `json:"io_bytes"`
		Rate  int64 `json:"bw_bytes"`
	}
	var r struct {
		Jobs []struct {
			Error       int
			Read, Write side
		}
	}
	text, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("fio's report: %w", err)
	}
	if len(r.Jobs) != 1 || r.Jobs[0].Error != 0 || r.Jobs[0].Write.Bytes != loadSize || r.Jobs[0].Read.Bytes != loadSize {
		return 0, 0, fmt.Errorf("fio did not write and verify everything, see %s", name)
	}
	return r.Jobs[0].Write.Rate, r.Jobs[0].Read.Rate, nil
}
