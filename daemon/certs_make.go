package daemon

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certYears is how long certificates that the daemon makes are valid: nobody
// renews them.
const certYears = 10

// makeCerts makes dir with an authority and a server certificate for this
// host's names and addresses. After a kill the directory is there whole, or not.
func makeCerts(dir string) error {
	tmp := dir + ".new"
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o700)); err != nil {
		return err
	}
	if err := fillCerts(tmp); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := errors.Join(syncDir(tmp), os.Rename(tmp, dir)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func fillCerts(dir string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	ca, err := newCertificate("goldstream on "+host, nil)
	if err != nil {
		return err
	}
	ca.template.IsCA, ca.template.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	if err := ca.write(dir, caCertFile, caKeyFile, ca); err != nil {
		return err
	}
	server, err := newCertificate(host, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth})
	if err != nil {
		return err
	}
	server.template.KeyUsage = x509.KeyUsageDigitalSignature
	server.template.DNSNames, server.template.IPAddresses = hostNames(host)
	return server.write(dir, serverCertFile, serverKeyFile, ca)
}

// hostNames are those by which clients may reach this host.
func hostNames(host string) (names []string, ips []net.IP) {
	names = []string{host}
	if host != "localhost" {
		names = append(names, "localhost")
	}
	ips = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	addrs, _ := net.InterfaceAddrs() // without them the names are left
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
			ips = append(ips, n.IP)
		}
	}
	return names, ips
}

type certificate struct {
	template *x509.Certificate
	key      *ecdsa.PrivateKey
}

func newCertificate(name string, usage []x509.ExtKeyUsage) (*certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	if len(name) > 64 { // of a common name
		name = name[:64]
	}
	return &certificate{key: key, template: &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(certYears, 0, 0),
		BasicConstraintsValid: true, ExtKeyUsage: usage,
	}}, nil
}

// write signs c with ca and writes it and its key.
func (c *certificate) write(dir, certFile, keyFile string, ca *certificate) error {
	der, err := x509.CreateCertificate(rand.Reader, c.template, ca.template, c.key.Public(), crypto.Signer(ca.key))
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return err
	}
	return errors.Join(
		writePEM(filepath.Join(dir, certFile), "CERTIFICATE", der),
		writePEM(filepath.Join(dir, keyFile), "PRIVATE KEY", key))
}

func writePEM(path, kind string, der []byte) error {
	return writeSynced(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// writeSynced writes a new file that only its owner may read.
func writeSynced(path string, p []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(p)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
