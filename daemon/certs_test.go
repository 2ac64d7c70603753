package daemon

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/nbd"
)

func openTestCerts(t *testing.T) (*certs, *bytes.Buffer) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tls")
	// What a kill left in the middle of making them.
	require.NoError(t, os.MkdirAll(filepath.Join(dir+".new", "x"), 0o700))
	log := new(bytes.Buffer)
	c, err := openCerts(dir, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	require.NoDirExists(t, dir+".new")
	return c, log
}

// shakeHands connects as a client that trusts the authority in dir.
func (c *certs) shakeHands(t *testing.T, dir, name string, own ...tls.Certificate) error {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, caCertFile))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(ca))
	a, b := net.Pipe()
	defer a.Close()
	served := make(chan error, 1)
	go func() {
		served <- tls.Server(b, c.config()).Handshake()
		b.Close()
	}()
	require.NoError(t, a.SetDeadline(time.Now().Add(time.Minute)))
	client := tls.Client(a, &tls.Config{RootCAs: pool, ServerName: name, Certificates: own, MaxVersion: tls.VersionTLS12})
	return errors.Join(client.Handshake(), a.Close(), <-served)
}

func TestCertificatesAreMade(t *testing.T) {
	t.Parallel()
	c, _ := openTestCerts(t)
	fi, err := os.Stat(c.dir)
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o700, fi.Mode())
	files, err := os.ReadDir(c.dir)
	require.NoError(t, err)
	require.Len(t, files, 4)
	for _, f := range files {
		fi, err := f.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), fi.Mode(), f.Name())
	}
	host, err := os.Hostname()
	require.NoError(t, err)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", host} {
		require.NoError(t, c.shakeHands(t, c.dir, name), name)
	}
	require.Error(t, c.shakeHands(t, c.dir, "elsewhere.example"))

	before, err := os.ReadFile(filepath.Join(c.dir, serverCertFile))
	require.NoError(t, err)
	_, err = openCerts(c.dir, c.log)
	require.NoError(t, err)
	after, err := os.ReadFile(filepath.Join(c.dir, serverCertFile))
	require.NoError(t, err)
	require.Equal(t, before, after, "made once")
}

func TestChangedCertificatesAreRead(t *testing.T) {
	t.Parallel()
	c, log := openTestCerts(t)
	other, _ := openTestCerts(t)
	replace := func(name string, p []byte) {
		tmp := filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(tmp, p, 0o600))
		require.NoError(t, os.Rename(tmp, filepath.Join(c.dir, name)))
	}
	require.Error(t, c.shakeHands(t, other.dir, "localhost"))
	key, err := os.ReadFile(filepath.Join(other.dir, serverKeyFile))
	require.NoError(t, err)
	cert, err := os.ReadFile(filepath.Join(other.dir, serverCertFile))
	require.NoError(t, err)
	replace(serverCertFile, append(cert, '\n')) // not that of the key
	require.NoError(t, c.shakeHands(t, c.dir, "localhost"))
	require.Contains(t, log.String(), "those from before stay")
	replace(serverKeyFile, append(key, '\n'))
	require.NoError(t, c.shakeHands(t, other.dir, "localhost"))
	require.Error(t, c.shakeHands(t, c.dir, "localhost"))
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	c, _ := openTestCerts(t)
	ca, err := os.ReadFile(filepath.Join(c.dir, caCertFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, clientCAFile), ca, 0o600))
	require.ErrorContains(t, c.shakeHands(t, c.dir, "localhost"), "certificate")

	signer, err := tls.LoadX509KeyPair(filepath.Join(c.dir, caCertFile), filepath.Join(c.dir, caKeyFile))
	require.NoError(t, err)
	own, err := newCertificate("client", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, own.write(dir, "client-cert.pem", "client-key.pem", &certificate{signer.Leaf, signer.PrivateKey.(*ecdsa.PrivateKey)}))
	require.NoError(t, os.WriteFile(filepath.Join(dir, caCertFile), ca, 0o600))
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client-cert.pem"), filepath.Join(dir, "client-key.pem"))
	require.NoError(t, err)
	require.NoError(t, c.shakeHands(t, c.dir, "localhost", pair))

	// And a client that people use, with the certificate and without.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := nbd.NewServer(noExports{}, nbd.Options{})
	served := make(chan error, 1)
	go func() {
		served <- s.ServeListener(context.Background(), l, nbd.ListenerOptions{TLS: c.config(), RequireTLS: true})
	}()
	t.Cleanup(func() { s.Close(); <-served })
	list := func(dir string) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return exec.CommandContext(ctx, "nbdinfo", "--list", "nbds://"+l.Addr().String()+"?tls-certificates="+dir).Run()
	}
	require.NoError(t, list(dir))
	require.NoError(t, os.Remove(filepath.Join(dir, "client-cert.pem")))
	require.NoError(t, os.Remove(filepath.Join(dir, "client-key.pem")))
	require.Error(t, list(dir))
}

type noExports struct{}

func (noExports) Open(context.Context, string) (nbd.Device, error) { return nil, os.ErrNotExist }
func (noExports) List(context.Context) ([]nbd.ExportInfo, error)   { return nil, nil }

func TestBadCertificatesAreRefused(t *testing.T) {
	t.Parallel()
	c, _ := openTestCerts(t)
	key := filepath.Join(c.dir, serverKeyFile)
	require.NoError(t, os.Chmod(key, 0o644))
	_, err := openCerts(c.dir, c.log)
	require.ErrorContains(t, err, "chmod 600")
	require.NoError(t, os.Chmod(key, 0o640))
	_, err = openCerts(c.dir, c.log)
	require.NoError(t, err, "a group may be let in")
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, clientCAFile), []byte("no"), 0o600))
	_, err = openCerts(c.dir, c.log)
	require.ErrorContains(t, err, clientCAFile)
	require.NoError(t, os.Remove(filepath.Join(c.dir, clientCAFile)))
	require.NoError(t, os.Remove(key))
	_, err = openCerts(c.dir, c.log)
	require.ErrorContains(t, err, "move the directory away")
}

func TestParseListener(t *testing.T) {
	for s, want := range map[string]Listener{
		"127.0.0.1:0":              {Address: "127.0.0.1:0"},
		"127.0.0.1:0,tls=off":      {Address: "127.0.0.1:0", TLS: TLSOff},
		"[::]:0,tls=on":            {Address: "[::]:0", TLS: TLSOn},
		"unix:a,b.sock":            {Address: "unix:a,b.sock"},
		"unix:a.sock,tls=required": {Address: "unix:a.sock", TLS: TLSRequired},
	} {
		got, err := ParseListener(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, s := range []string{"127.0.0.1:0,tls=", "127.0.0.1:0,tls=maybe", "127.0.0.1:0,x", ",tls=on"} {
		_, err := ParseListener(s)
		require.Error(t, err, s)
	}
	public, local := &net.TCPAddr{IP: net.IPv4zero}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	require.Equal(t, TLSOn, Listener{}.mode(public))
	require.Equal(t, TLSOff, Listener{}.mode(local))
	require.Equal(t, TLSOff, Listener{}.mode(&net.UnixAddr{}))
	require.Equal(t, TLSOff, Listener{TLS: TLSOff}.mode(public))
	require.Equal(t, TLSRequired, Listener{TLS: TLSRequired}.mode(local))
}
