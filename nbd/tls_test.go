package nbd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testCerts makes a certificate that is its own authority, and the directory
// of it that clients (libnbd, qemu) want.
func testCerts(t testing.TB) (server *tls.Config, pool *x509.CertPool, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool = x509.NewCertPool()
	pool.AddCert(cert)
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca-cert.pem"),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool, dir
}

// serveListener serves on a free TCP port with options until the test ends.
func serveListener(t testing.TB, s *Server, o ListenerOptions) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.ServeListener(context.Background(), l, o) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-served, ErrServerClosed)
	})
	return l.Addr().String()
}

// greetedTCP is greeted on TCP.
func greetedTCP(t testing.TB, addr string, flags uint32) *wire {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(30*time.Second)))
	w := &wire{t, nc}
	w.read(greetingSize)
	w.send(be.AppendUint32(nil, flags))
	return w
}

// upgrade does STARTTLS.
func (w *wire) upgrade(o *tls.Config) *wire {
	w.t.Helper()
	w.option(optStartTLS, nil)
	w.expect(optStartTLS, repAck)
	t := tls.Client(w.Conn, o)
	require.NoError(w.t, t.Handshake())
	return &wire{w.t, t}
}

func TestTLSOff(t *testing.T) {
	t.Parallel()
	s := NewServer(exportMap{"disk": newMemDevice(1 << 20)}, Options{})
	w := greetedTCP(t, serveListener(t, s, ListenerOptions{}), 3)
	w.option(optStartTLS, nil)
	w.expect(optStartTLS, repErrUnsup)
	w.option(optGo, goData("disk"))
	w.expect(optGo, repInfo, repAck) // never TLS_REQD
}

func TestTLSRequired(t *testing.T) {
	t.Parallel()
	conf, pool, _ := testCerts(t)
	s := NewServer(exportMap{"disk": newMemDevice(1 << 20)}, Options{})
	addr := serveListener(t, s, ListenerOptions{TLS: conf, RequireTLS: true})
	w := greetedTCP(t, addr, 3)
	for _, o := range []struct {
		option uint32
		data   []byte
	}{
		{optList, nil}, {optInfo, goData("disk")}, {optGo, goData("disk")}, {optGo, goData("nope")},
		{optStructuredReply, nil}, {optListMeta, metaData("disk")}, {optSetMeta, metaData("disk")},
		{77, nil}, {optGo, make([]byte, maxOptionData+1)},
	} {
		w.option(o.option, o.data)
		w.expect(o.option, repErrTLSReqd)
	}
	secure := w.upgrade(&tls.Config{RootCAs: pool, ServerName: "localhost"})
	secure.option(optGo, goData("disk"))
	secure.expect(optGo, repInfo, repAck)

	w = greetedTCP(t, addr, 3)
	w.option(optExportName, []byte("disk"))
	w.closed()
	w = greetedTCP(t, addr, 3)
	w.option(optAbort, nil)
	w.expect(optAbort, repAck)
	w.closed()
}

func TestTLSForgetsWhatWasSaidBefore(t *testing.T) {
	t.Parallel()
	conf, pool, _ := testCerts(t)
	s := NewServer(exportMap{"disk": newMemDevice(1 << 20)}, Options{})
	w := greetedTCP(t, serveListener(t, s, ListenerOptions{TLS: conf}), 3)
	w.option(optStructuredReply, nil)
	w.expect(optStructuredReply, repAck)
	w.option(optSetMeta, metaData("disk", baseAllocation))
	w.expect(optSetMeta, repMetaContext, repAck)
	require.Equal(t, 1, s.InUse("disk"))
	w.option(optStartTLS, []byte("x"))
	w.expect(optStartTLS, repErrInvalid)
	w = w.upgrade(&tls.Config{RootCAs: pool, ServerName: "localhost"})
	w.option(optStartTLS, nil)
	w.expect(optStartTLS, repErrInvalid)
	require.Zero(t, s.InUse("disk"))
	w.option(optSetMeta, metaData("disk", baseAllocation))
	w.expect(optSetMeta, repErrInvalid) // STRUCTURED_REPLY is due again
	w.option(optGo, goData("disk"))
	w.expect(optGo, repInfo, repAck)
	w.send(requestBytes(cmdBlockStatus, 0, 4, 0, 512), requestBytes(cmdRead, 0, 5, 0, 512))
	require.EqualValues(t, errnoInval, w.simple(4))
	require.Zero(t, w.simple(5))
	w.read(512)
}

// What comes with STARTTLS in plain text must not reach the encrypted side.
func TestTLSRefusesInjectedPlainText(t *testing.T) {
	t.Parallel()
	conf, _, _ := testCerts(t)
	s := NewServer(exportMap{"disk": newMemDevice(1 << 20)}, Options{})
	addr := serveListener(t, s, ListenerOptions{TLS: conf})
	for _, more := range [][]byte{{0x16}, optionBytes(optStructuredReply, nil)} {
		w := greetedTCP(t, addr, 3)
		w.send(append(optionBytes(optStartTLS, nil), more...))
		w.noTLS()
	}
	w := greetedTCP(t, addr, 3)
	w.option(optStartTLS, nil)
	w.expect(optStartTLS, repAck)
	w.send(optionBytes(optStructuredReply, nil))
	w.noTLS()
	w = greetedTCP(t, addr, flagNoZeroes)
	w.option(optStartTLS, nil)
	w.expect(optStartTLS, repErrInvalid) // not fixed newstyle
}

// noTLS requires that the server closes without any answer to an option and
// without a TLS handshake. The bytes may have come in two pieces, the second
// of which is then no TLS.
func (w *wire) noTLS() {
	w.t.Helper()
	rest, err := io.ReadAll(w)
	require.NoError(w.t, err)
	if ack := (&optionReply{option: optStartTLS}); len(rest) > 0 {
		ack.ack()
		rest = bytes.TrimPrefix(rest, ack.p)
	}
	require.False(w.t, len(rest) > 0 && rest[0] != 0x15, "%x is no TLS alert", rest)
}

func TestTLSTransmission(t *testing.T) {
	t.Parallel()
	conf, pool, _ := testCerts(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			s := NewServer(exportMap{"disk": newMemDevice(4 << 20)}, Options{})
			w := greetedTCP(t, serveListener(t, s, ListenerOptions{TLS: conf, RequireTLS: true}), 3)
			w = w.upgrade(&tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: version, MaxVersion: version})
			w.option(optGo, goData("disk"))
			w.expect(optGo, repInfo, repAck)
			data := make([]byte, 3<<20)
			_, _ = rand.Read(data)
			w.send(requestBytes(cmdWrite, 0, 1, 5, uint32(len(data))), data)
			require.Zero(t, w.simple(1))
			for i := range uint64(40) { // more than the reader's stub holds
				w.send(requestBytes(cmdRead, 0, 10+i, 5+1000*i, 1000))
				require.Zero(t, w.simple(10+i))
				require.Equal(t, data[1000*i:1000*i+1000], w.read(1000))
			}
			w.send(requestBytes(cmdRead, 0, 2, 5, uint32(len(data))))
			require.Zero(t, w.simple(2))
			require.Equal(t, data, w.read(len(data)))
			w.send(requestBytes(cmdFlush, 0, 3, 0, 0), requestBytes(cmdDisc, 0, 4, 0, 0))
			require.Zero(t, w.simple(3))
			w.closed() // an end of TLS, or crypto/tls reports an unexpected one
		})
	}
}

// An encrypted connection must end like any other, wherever it is.
func TestTLSShutdown(t *testing.T) {
	t.Parallel()
	conf, pool, _ := testCerts(t)
	s := NewServer(exportMap{"disk": newMemDevice(1 << 20)}, Options{})
	addr := serveListener(t, s, ListenerOptions{TLS: conf})
	half := greetedTCP(t, addr, 3)
	half.option(optStartTLS, nil)
	half.expect(optStartTLS, repAck) // and never begins the TLS handshake
	w := greetedTCP(t, addr, 3).upgrade(&tls.Config{RootCAs: pool, ServerName: "localhost"})
	w.option(optGo, goData("disk"))
	w.expect(optGo, repInfo, repAck)
	w.send(requestBytes(cmdFlush, 0, 3, 0, 0))
	require.Zero(t, w.simple(3))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(ctx) }()
	w.closed()
	_ = w.Close()
	require.NoError(t, <-ended)
}

func TestInteropTLS(t *testing.T) {
	t.Parallel()
	conf, _, dir := testCerts(t)
	d := patterned(t)
	s := NewServer(exportMap{"disk": d}, Options{})
	addr := serveListener(t, s, ListenerOptions{TLS: conf, RequireTLS: true})
	_, port := splitAddr(t, addr)
	uri := "nbds://localhost:" + port + "/disk?tls-certificates=" + dir
	require.Contains(t, run(t, "nbdinfo", uri), "with TLS")
	require.Contains(t, run(t, "nbdinfo", "--map", uri), "hole,zero")
	out := filepath.Join(t.TempDir(), "out")
	run(t, "nbdcopy", "--connections=4", uri, out)
	require.Equal(t, fileSum(t, d.f.Name()), fileSum(t, out))

	creds := "tls-creds-x509,id=tls,endpoint=client,dir=" + dir
	opts := "driver=nbd,host=localhost,port=" + port + ",export=disk,tls-creds=tls"
	require.Contains(t, run(t, "qemu-img", "info", "--object", creds, "--image-opts", opts), "32 MiB")
	run(t, "qemu-img", "compare", "--object", creds, "--image-opts", opts, "driver=raw,file.driver=file,file.filename="+out)

}
