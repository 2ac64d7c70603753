package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// sample is what one run of fio gave.
type sample struct {
	rate     float64 // in the workload's unit
	cpuPerOp float64 // of the server, in us
}

// measure runs a workload against an export for a while.
func (r *run) measure(ctx context.Context, s *server, export string, w workload, seconds float64) (sample, error) {
	span := w.span
	if span == 0 {
		span = r.diskSize()
	}
	args := []string{"--name=bench", "--ioengine=nbd", "--uri=" + s.uri(export), "--rw=" + w.rw, "--bs=" + w.bs,
		"--iodepth=" + strconv.Itoa(w.depth), "--numjobs=" + strconv.Itoa(w.jobs), fmt.Sprintf("--runtime=%gs", seconds),
		"--time_based", "--randrepeat=0", "--norandommap", fmt.Sprintf("--size=%d", span), "--group_reporting"}
	if w.sync > 0 {
		args = append(args, "--fsync="+strconv.Itoa(w.sync))
	}
	before := s.cpu()
	v, err := r.fio(ctx, s, args)
	if err != nil {
		return sample{}, err
	}
	used := s.cpu() - before
	rate := v.IOPS
	if w.unit == "MB/s" {
		rate = v.Bytes / 1e6
	}
	return sample{rate, used / v.TotalIOs}, nil
}

// overwrite writes a part of an export once, and flushes.
func (r *run) overwrite(ctx context.Context, s *server, export string, args ...string) error {
	_, err := r.fio(ctx, s, append([]string{"--name=fill", "--ioengine=nbd", "--uri=" + s.uri(export), "--iodepth=16", "--end_fsync=1"}, args...))
	return err
}

// everyOther writes half of the disk in runs of 1 MiB.
func (r *run) everyOther() []string {
	size := r.diskSize()
	return []string{"--rw=write", "--bs=1m", "--zonemode=strided", "--zonesize=1m", "--zonerange=1m", "--zoneskip=1m",
		fmt.Sprintf("--size=%d", size), fmt.Sprintf("--io_size=%d", size/2)}
}

// atRandom writes half of the disk's blocks, each once.
func (r *run) atRandom() []string {
	size := r.diskSize()
	return []string{"--rw=randwrite", "--bs=4k", fmt.Sprintf("--size=%d", size), fmt.Sprintf("--io_size=%d", size/2)}
}

// fioSide is what fio says of its reads or writes.
type fioSide struct {
	IOPS     float64 `json:"iops"`
	Bytes    float64 `json:"bw_bytes"`
	TotalIOs float64 `json:"total_ios"`
}

// fio runs one job and returns what it says of its reads, or of its writes if
// there were none.
func (r *run) fio(ctx context.Context, s *server, args []string) (fioSide, error) {
	cmd := exec.CommandContext(ctx, "fio", append(args, "--output-format=json")...)
	cmd.Dir = r.dir
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fioSide{}, fmt.Errorf("fio against %s: %w", s.name, err)
	}
	var result struct {
		Jobs []struct {
			Read  fioSide `json:"read"`
			Write fioSide `json:"write"`
		} `json:"jobs"`
	}
	_, body, _ := bytes.Cut(append([]byte("\n"), out...), []byte("\n{")) // after notes of fio's
	if err := json.Unmarshal(append([]byte("{"), body...), &result); err != nil || len(result.Jobs) == 0 {
		return fioSide{}, fmt.Errorf("fio's output is not understood: %v: %.200q", err, out)
	}
	v := result.Jobs[0].Read
	if v.TotalIOs == 0 {
		v = result.Jobs[0].Write
	}
	if v.TotalIOs == 0 {
		return v, fmt.Errorf("fio against %s did nothing", s.name)
	}
	return v, nil
}
