package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// watchCells looks at the sandboxes' kernels until the returned function is called,
// which tells the memory of the largest, in MiB: what its processes have of their own
// and, shared by them, of the file that is its kernel's memory.
func watchCells() func() float64 {
	stop, done := make(chan struct{}), make(chan float64)
	go func() {
		largest := 0.0
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-tick.C:
				for _, size := range cellSizes() {
					largest = max(largest, size)
				}
			case <-stop:
				tick.Stop()
				done <- largest
				return
			}
		}
	}()
	return func() float64 { close(stop); return <-done }
}

// cellSizes sums up the proportional sizes of processes by their PID namespace, of
// which each jail has one.
func cellSizes() map[string]float64 {
	sizes := map[string]float64{}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		args, err := os.ReadFile(file)
		if err != nil || !bytes.HasPrefix(args, []byte("/linux\x00")) && !bytes.Contains(args, []byte("ubd0drt=")) {
			continue
		}
		dir := filepath.Dir(file)
		space, err := os.Readlink(filepath.Join(dir, "ns/pid"))
		if err != nil {
			continue
		}
		text, _ := os.ReadFile(filepath.Join(dir, "smaps_rollup")) // it may be gone
		sizes[space] += proportional(string(text))
	}
	return sizes
}

// proportional is the line Pss of smaps_rollup, in MiB.
func proportional(text string) float64 {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib / 1024
		}
	}
	return 0
}
