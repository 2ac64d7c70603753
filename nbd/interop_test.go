package nbd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// These tests drive the server with the clients that people use. They fail
// where one is missing: libnbd-bin, qemu-utils, qemu-system-x86, fio, nbd-client.

const diskSize = 32 << 20

// patterned has data, holes, and unaligned edges between them.
func patterned(t testing.TB) *fileDevice {
	d := newFileDevice(t, diskSize)
	r := rand.NewChaCha8([32]byte{1})
	for _, at := range []int64{0, 5 << 20, 17<<20 + 123, diskSize - 70000} {
		p := make([]byte, 70000)
		_, _ = r.Read(p)
		_, err := d.f.WriteAt(p, at)
		require.NoError(t, err)
	}
	return d
}

func fileSum(t testing.TB, path string) [32]byte {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return sha256.Sum256(b)
}

func TestInteropNbdinfo(t *testing.T) {
	_, path, tcp := startServer(t, exportMap{"disk": patterned(t)}, Options{})
	out := run(t, "nbdinfo", "nbd://"+tcp+"/disk")
	for _, want := range []string{"export-size: 33554432", "can_fua: true", "can_multi_conn: true",
		"can_df: true", "can_cache: true", "can_fast_zero: true", "can_trim: true", "is_read_only: false",
		"block_size_minimum: 1", "block_size_preferred: 4096", "block_size_maximum: 33554432", "base:allocation"} {
		require.Contains(t, out, want)
	}
	require.Contains(t, run(t, "nbdinfo", "--list", "nbd+unix:///?socket="+path), `export="disk"`)
	require.Contains(t, run(t, "nbdinfo", "--map", "nbd+unix:///disk?socket="+path), "hole,zero")
	require.Contains(t, run(t, "nbdinfo", "--map", "--totals", "nbd+unix:///disk?socket="+path), "data")
}

func TestInteropReadOnly(t *testing.T) {
	d := patterned(t)
	d.readOnly = true
	_, _, tcp := startServer(t, exportMap{"disk": d}, Options{})
	out := run(t, "nbdinfo", "nbd://"+tcp+"/disk")
	require.Contains(t, out, "is_read_only: true")
	require.Contains(t, out, "can_trim: false")
	require.Contains(t, out, "can_zero: false")
}

func TestInteropNbdcopy(t *testing.T) {
	d := patterned(t)
	_, path, tcp := startServer(t, exportMap{"disk": d, "copy": newFileDevice(t, diskSize)}, Options{})
	out := filepath.Join(t.TempDir(), "out")
	for _, connections := range []string{"1", "4"} {
		require.NoError(t, os.RemoveAll(out))
		run(t, "nbdcopy", "--connections="+connections, "nbd://"+tcp+"/disk", out)
		require.Equal(t, fileSum(t, d.f.Name()), fileSum(t, out))
	}

	run(t, "nbdcopy", "--destination-is-zero", out, "nbd+unix:///copy?socket="+path)
	back := filepath.Join(t.TempDir(), "back")
	run(t, "nbdcopy", "nbd+unix:///copy?socket="+path, back)
	require.Equal(t, fileSum(t, out), fileSum(t, back))
	run(t, "nbdcopy", "nbd://"+tcp+"/disk", "nbd://"+tcp+"/copy")
}

func TestInteropQemuImg(t *testing.T) {
	d := patterned(t)
	_, path, tcp := startServer(t, exportMap{"disk": d, "copy": newFileDevice(t, diskSize)}, Options{})
	uri := "nbd+unix:///disk?socket=" + path
	require.Contains(t, run(t, "qemu-img", "info", "--output=json", uri), `"virtual-size": 33554432`)
	require.Contains(t, run(t, "qemu-img", "map", "--output=json", uri), `"zero": true`)
	out := filepath.Join(t.TempDir(), "out.raw")
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "raw", "-W", uri, out)
	require.Equal(t, fileSum(t, d.f.Name()), fileSum(t, out))
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", out, "nbd://"+tcp+"/copy")
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", uri, "nbd://"+tcp+"/copy")
}

func TestInteropQemuIO(t *testing.T) {
	_, _, tcp := startServer(t, exportMap{"disk": patterned(t)}, Options{})
	out := run(t, "qemu-io", "-f", "raw", "nbd://"+tcp+"/disk",
		"-c", "write -P 0x5a 1000 70000", "-c", "flush", "-c", "read -P 0x5a 1000 70000",
		"-c", "write -f -P 0x11 0 4096", "-c", "read -P 0x11 0 1000",
		"-c", "write -z 4096 65536", "-c", "read -P 0 4096 65536",
		"-c", "write -z -u 1M 1M", "-c", "read -P 0 1M 1M",
		"-c", "discard 2M 1M", "-c", "read -P 0 2M 1M",
		"-c", "aio_write -P 3 8M 1M", "-c", "aio_read -P 0 2M 1M", "-c", "aio_flush")
	require.NotContains(t, out, "failed")
	require.NotContains(t, out, "rror")
}

func TestInteropFioVerify(t *testing.T) {
	_, _, tcp := startServer(t, exportMap{"disk": newFileDevice(t, diskSize)}, Options{})
	run(t, "fio", "--name=v", "--ioengine=nbd", "--uri=nbd://"+tcp+"/disk", "--rw=randwrite",
		"--bsrange=512-64k", "--bs_unaligned=1", "--size=7m", "--offset_increment=8m", "--numjobs=4",
		"--iodepth=32", "--verify=crc32c", "--fsync=32", "--verify_fatal=1", "--verify_state_save=0")
}

func TestInteropNbdClientList(t *testing.T) {
	_, _, tcp := startServer(t, exportMap{"disk": patterned(t), "other": patterned(t)}, Options{})
	host, port := splitAddr(t, tcp)
	out := run(t, "nbd-client", "-l", host, port)
	require.Contains(t, out, "disk")
	require.Contains(t, out, "other")
}

func TestInteropQemuNbdList(t *testing.T) {
	_, _, tcp := startServer(t, exportMap{"disk": patterned(t)}, Options{})
	host, port := splitAddr(t, tcp)
	out := run(t, "qemu-nbd", "-L", "-b", host, "-p", port)
	for _, want := range []string{"export: 'disk'", "description: disk disk", "size:  33554432", "multi", "fua",
		"min block: 1", "opt block: 4096", "max block: 33554432", "base:allocation", "qemu:allocation-depth"} {
		require.Contains(t, out, want)
	}
}

// The package's client against the package's server; client_test.go has it
// against qemu-nbd.
func TestInteropOwnClient(t *testing.T) {
	d := patterned(t)
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	c, err := Dial(context.Background(), "unix", path, "/disk")
	require.NoError(t, err)
	defer c.Close()
	got, err := io.ReadAll(io.NewSectionReader(readerAt{c}, 0, c.Size()))
	require.NoError(t, err)
	want, err := os.ReadFile(d.f.Name())
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

// readerAt makes an io.ReaderAt of a Client.
type readerAt struct{ c *Client }

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	return r.c.ReadAt(context.Background(), p, off)
}
