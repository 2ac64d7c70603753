package nbd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The request loop over a Unix socket with 32 requests in flight. What counts
// is allocs/op: 0 once pools are warm, for the reader's own answers, for
// those of workers, and for writes.
func BenchmarkRequests(b *testing.B) {
	for _, k := range []struct {
		name   string
		kind   uint16
		length uint32
		cached bool
		sr     bool
	}{
		{"ReadInline4K", cmdRead, 4096, true, false},
		{"ReadInlineStructured4K", cmdRead, 4096, true, true},
		{"ReadInline128K", cmdRead, 128 << 10, true, false},
		{"ReadWorker4K", cmdRead, 4096, false, false},
		{"Read1M", cmdRead, 1 << 20, true, false},
		{"Write4K", cmdWrite, 4096, true, false},
		{"Write128K", cmdWrite, 128 << 10, true, false},
	} {
		b.Run(k.name, func(b *testing.B) {
			d := newMemDevice(1 << 20)
			d.cached = k.cached
			_, path, _ := startServer(b, exportMap{"disk": d}, Options{})
			w := ready(b, path, k.sr)
			require.NoError(b, w.SetDeadline(time.Time{}))
			benchRequests(b, w, k.kind, k.length, k.sr)
		})
	}
}

// benchRequests sends batches of 32 requests and reads the replies.
func benchRequests(b *testing.B, w *wire, kind uint16, length uint32, structured bool) {
	const depth = 32
	request := requestBytes(kind, 0, 1, 0, length)
	reply := simpleSize
	if kind == cmdWrite {
		request = append(request, make([]byte, length)...)
	} else if reply += int(length); structured {
		reply += dataChunkSize - simpleSize
	}
	batch, p := bytes.Repeat(request, depth), make([]byte, 256<<10)
	writes := make(chan int, 1)
	go func() {
		for n := range writes {
			_, _ = w.Write(batch[:n*len(request)])
		}
	}()
	defer close(writes)
	b.SetBytes(int64(length))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= depth {
		n := min(left, depth)
		writes <- n
		for want := n * reply; want > 0; {
			m, err := w.Read(p[:min(want, len(p))])
			if err != nil {
				b.Fatal(err)
			}
			want -= m
		}
	}
}

// BenchmarkFio runs fio's NBD client against this server and against nbdkit's
// file plugin, in turn, on the same file in the page cache. Caveats: client
// and server share the machine's processors, so compare only figures of one
// run, and both servers with each other. Each op is one run of fio of 2 s.
func BenchmarkFio(b *testing.B) {
	d := newFileDevice(b, 256<<20)
	fill(b, d.f, d.size)
	_, _, ours := startServer(b, exportMap{"disk": d}, Options{})
	theirs := startNbdkit(b, d.f.Name())
	for _, k := range []struct {
		rw, bs string
		depth  int
	}{
		{"randread", "4k", 32}, {"randread", "4k", 1}, {"randread", "128k", 8},
		{"randwrite", "4k", 32}, {"randwrite", "128k", 8},
	} {
		b.Run(fmt.Sprintf("%s-%s-qd%d", k.rw, k.bs, k.depth), func(b *testing.B) {
			var a, z float64
			for range b.N {
				a += fio(b, "nbd://"+ours+"/disk", k.rw, k.bs, k.depth)
				z += fio(b, "nbd://"+theirs, k.rw, k.bs, k.depth)
			}
			b.ReportMetric(a/float64(b.N), "ours-iops")
			b.ReportMetric(z/float64(b.N), "nbdkit-iops")
			b.ReportMetric(a/z, "ours/nbdkit")
		})
	}
}

func fill(t testing.TB, f *os.File, size int64) {
	p := bytes.Repeat([]byte("goldstream"), 1<<20/10)
	for at := int64(0); at < size; at += int64(len(p)) {
		_, err := f.WriteAt(p[:min(int64(len(p)), size-at)], at)
		require.NoError(t, err)
	}
}

// startNbdkit starts nbdkit on a free TCP port.
func startNbdkit(b *testing.B, file string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	addr := l.Addr().String()
	require.NoError(b, l.Close())
	host, port := splitAddr(b, addr)
	cmd := exec.Command("nbdkit", "-f", "-i", host, "-p", port, "file", file)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(b, func() bool {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			_, _ = io.ReadFull(nc, make([]byte, greetingSize))
			_ = nc.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	return addr
}

// fio returns the IOPS of one run.
func fio(b *testing.B, uri, rw, bs string, depth int) float64 {
	out, err := exec.Command("fio", "--name=x", "--ioengine=nbd", "--uri="+uri, "--rw="+rw, "--bs="+bs,
		fmt.Sprintf("--iodepth=%d", depth), "--size=256m", "--time_based", "--runtime=2", "--norandommap",
		"--output-format=json").Output()
	require.NoError(b, err, "%s", out)
	var report struct {
		Jobs []struct{ Read, Write struct{ IOPS float64 } }
	}
	require.NoError(b, json.Unmarshal(out[max(0, bytes.IndexByte(out, '{')):], &report), "%s", out)
	return report.Jobs[0].Read.IOPS + report.Jobs[0].Write.IOPS
}
