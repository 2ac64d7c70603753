package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// workload is one fio job.
type workload struct {
	what  string
	rw    string
	bs    string
	depth int
	jobs  int
	bar   string // against nbdkit file
	unit  string
}

var workloads = []workload{
	{what: "4 KiB random read, depth 32", rw: "randread", bs: "4k", depth: 32, jobs: 1, bar: "≥ 1.0x", unit: "IOPS"},
	{what: "128 KiB sequential read, depth 8", rw: "read", bs: "128k", depth: 8, jobs: 1, unit: "MB/s"},
	{what: "4 KiB random read, depth 1", rw: "randread", bs: "4k", depth: 1, jobs: 1, unit: "IOPS"},
	{what: "4 KiB random read, depth 8, 4 connections", rw: "randread", bs: "4k", depth: 8, jobs: 4, unit: "IOPS"},
	{what: "4 KiB random write, depth 32", rw: "randwrite", bs: "4k", depth: 32, jobs: 1, unit: "IOPS"},
}

// nbd compares the servers over loopback TCP, each on a copy of the same image.
func (r *run) nbd(ctx context.Context) error {
	servers, err := r.startServers(ctx)
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	if err != nil {
		return err
	}
	rounds, seconds, jobs := 9, 2, workloads
	if r.short {
		rounds, seconds, jobs = 3, 2, workloads[:2]
	}
	for _, w := range jobs {
		note("nbd: %s", w.what)
		if err := r.compare(ctx, servers, w, rounds, seconds); err != nil {
			return err
		}
	}
	return nil
}

// compare runs a workload against all servers in interleaved rounds.
func (r *run) compare(ctx context.Context, servers []*server, w workload, rounds, seconds int) error {
	rate, cpu := map[*server][]float64{}, map[*server][]float64{}
	for range rounds {
		for _, s := range servers {
			v, perOp, err := r.fio(ctx, s, w, seconds)
			if err != nil {
				return err
			}
			rate[s], cpu[s] = append(rate[s], v), append(cpu[s], perOp)
		}
	}
	ours := servers[0]
	for _, peer := range servers[1:] {
		l := line{What: w.what, Unit: w.unit, Ours: median(rate[ours]), Peer: peer.name, Theirs: median(rate[peer])}
		if w.bar != "" && peer.name == "nbdkit file" {
			l.Bar, l.Missed = w.bar, l.Ours < l.Theirs
		}
		r.report.add(l)
		r.report.add(line{What: w.what + ", server CPU", Unit: "us/op", Ours: median(cpu[ours]), Peer: peer.name, Theirs: median(cpu[peer])})
	}
	return nil
}

// fio runs one job and returns its rate and the server's CPU time for each
// operation.
func (r *run) fio(ctx context.Context, s *server, w workload, seconds int) (rate, cpuPerOp float64, err error) {
	before := s.cpu()
	cmd := exec.CommandContext(ctx, "fio", "--name=bench", "--ioengine=nbd", "--uri="+s.uri, "--rw="+w.rw, "--bs="+w.bs,
		fmt.Sprintf("--iodepth=%d", w.depth), fmt.Sprintf("--numjobs=%d", w.jobs), fmt.Sprintf("--runtime=%d", seconds),
		"--time_based", "--size=1g", "--group_reporting", "--output-format=json")
	cmd.Dir = r.dir
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	out = append([]byte("\n"), out...)
	if err != nil {
		return 0, 0, fmt.Errorf("fio against %s: %w", s.name, err)
	}
	used := s.cpu() - before
	type side struct {
		IOPS     float64 `json:"iops"`
		Bytes    float64 `json:"bw_bytes"`
		TotalIOs float64 `json:"total_ios"`
	}
	var result struct {
		Jobs []struct {
			Read  side `json:"read"`
			Write side `json:"write"`
		} `json:"jobs"`
	}
	_, body, _ := bytes.Cut(out, []byte("\n{")) // after notes of fio's
	if err := json.Unmarshal(append([]byte("{"), body...), &result); err != nil || len(result.Jobs) == 0 {
		return 0, 0, fmt.Errorf("fio's output is not understood: %v: %.200q", err, out)
	}
	v := result.Jobs[0].Read
	if v.TotalIOs == 0 {
		v = result.Jobs[0].Write
	}
	rate = v.IOPS
	if w.unit == "MB/s" {
		rate = v.Bytes / 1e6
	}
	return rate, used / v.TotalIOs, nil
}

// startServers starts ours first, then the peers, and warms each.
func (r *run) startServers(ctx context.Context) (servers []*server, err error) {
	data := filepath.Join(r.dir, "serve")
	if err := command(ctx, r.binary, "--data", data, "image", "import", "golden", r.image); err != nil {
		return nil, err
	}
	if err := command(ctx, r.binary, "--data", data, "volume", "create", "--image", "golden", "v"); err != nil {
		return nil, err
	}
	start := func(name, export string, argv func(port string) []string) error {
		s, err := startServer(ctx, r.dir, name, export, argv)
		if err == nil {
			servers = append(servers, s)
		}
		return err
	}
	if err := start("goldstream", "v", func(port string) []string {
		return []string{r.binary, "serve", "--data", data, "--nbd", "127.0.0.1:" + port}
	}); err != nil {
		return servers, err
	}
	for _, peer := range []struct {
		name string
		argv func(file, port string) []string
	}{
		{"nbdkit file", func(file, port string) []string {
			return []string{"nbdkit", "-f", "-i", "127.0.0.1", "-p", port, "file", file}
		}},
		{"qemu-nbd raw", func(file, port string) []string {
			return []string{"qemu-nbd", "-t", "-e", "8", "-f", "raw", "-b", "127.0.0.1", "-p", port, file}
		}},
	} {
		file := filepath.Join(r.dir, peer.name)
		if err := command(ctx, "cp", "--sparse=always", r.image, file); err != nil {
			return servers, err
		}
		if err := start(peer.name, "", func(port string) []string { return peer.argv(file, port) }); err != nil {
			return servers, err
		}
	}
	return servers, nil
}
