package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The files in DATA/tls. libnbd (tls-certificates=DIR) and qemu
// (tls-creds-x509) want the same names.
//
//	ca-cert.pem      what clients trust; not read by the daemon
//	ca-key.pem       the authority's key, where the daemon made it
//	server-cert.pem  the daemon's certificate, and those between it and the authority
//	server-key.pem   its key
//	client-ca.pem    optional: clients must have a certificate of this authority
const (
	caCertFile     = "ca-cert.pem"
	caKeyFile      = "ca-key.pem"
	serverCertFile = "server-cert.pem"
	serverKeyFile  = "server-key.pem"
	clientCAFile   = "client-ca.pem"
)

// expirySoon is how long before its end a certificate is warned about.
const expirySoon = 30 * 24 * time.Hour

// certs are the certificates of TLS listeners. Files that were changed are read
// again by the next handshake; if they are no good, the ones before stay.
type certs struct {
	dir string
	log *slog.Logger

	mu struct {
		sync.Mutex
		stamp  [3]fileStamp
		config *tls.Config
	}
}

// fileStamp tells one state of a file from another.
type fileStamp struct {
	exists bool
	size   int64
	time   time.Time
}

// openCerts makes the directory if there is none, and reads what is in it.
func openCerts(dir string, log *slog.Logger) (*certs, error) {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeCerts(dir); err != nil {
			return nil, fmt.Errorf("cannot make certificates for TLS in %s: %w", dir, err)
		}
		log.Info("made certificates for TLS: give clients the first file", "ca", filepath.Join(dir, caCertFile), "dir", dir)
	}
	c := &certs{dir: dir, log: log}
	stamp := c.look()
	config, err := c.load()
	if err != nil {
		return nil, err
	}
	c.mu.stamp, c.mu.config = stamp, config
	return c, nil
}

// config is for listeners: each handshake asks what is valid then.
func (c *certs) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil },
	}
}

func (c *certs) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp := c.look()
	if stamp == c.mu.stamp {
		return c.mu.config
	}
	c.mu.stamp = stamp // if they are bad, say so once
	config, err := c.load()
	if err != nil {
		c.log.Error("the changed TLS files are no good: those from before stay in use", "error", err)
		return c.mu.config
	}
	c.log.Info("read the changed TLS files", "dir", c.dir)
	c.mu.config = config
	return config
}

func (c *certs) look() (stamps [3]fileStamp) {
	for i, name := range []string{serverCertFile, serverKeyFile, clientCAFile} {
		if fi, err := os.Stat(filepath.Join(c.dir, name)); err == nil {
			stamps[i] = fileStamp{true, fi.Size(), fi.ModTime()}
		}
	}
	return stamps
}

func (c *certs) load() (*tls.Config, error) {
	certPath, keyPath := filepath.Join(c.dir, serverCertFile), filepath.Join(c.dir, serverKeyFile)
	fi, err := os.Stat(keyPath)
	if err == nil && fi.Mode()&0o007 != 0 {
		return nil, fmt.Errorf("everyone on this host may use %s: run chmod 600 on it, and replace it if others were here", keyPath)
	}
	pair, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		return nil, fmt.Errorf("TLS needs %s and %s: put both there, or move the directory away to have new ones made: %w", certPath, keyPath, err)
	}
	if left := time.Until(pair.Leaf.NotAfter); left < expirySoon {
		c.log.Warn("the TLS certificate ends soon", "file", certPath, "end", pair.Leaf.NotAfter)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	return config, c.wantClients(config)
}

// wantClients asks clients for certificates where there is an authority of
// theirs.
func (c *certs) wantClients(config *tls.Config) error {
	path := filepath.Join(c.dir, clientCAFile)
	p, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(p) {
		return fmt.Errorf("%s holds no certificate in PEM", path)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return nil
}
