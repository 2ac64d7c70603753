package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"goldstream/access"
	"goldstream/api/v1"
	"goldstream/netboot"
)

// Bounds of the API on the network. Uploads and answers have deadlines for each
// piece, in api/v1.
const (
	netConnections = 1024 // at once; more wait
	netOwn         = 128  // of one address, or one /64 of IPv6; more are closed
	netHeader      = 64 << 10
	netHeaderTime  = 10 * time.Second // to shake hands, and to send a header
	netIdle        = 2 * time.Minute
)

// APIListener says where the API is served over the network, and how.
type APIListener struct {
	Address string // host:port
	// TLS is TLSRequired or, on loopback only, TLSOff. Default: required.
	TLS string
}

// ParseAPIListener reads ADDRESS[,tls=off|required] and checks it.
func ParseAPIListener(s string) (APIListener, error) {
	l := APIListener{Address: s, TLS: TLSRequired}
	if address, mode, found := strings.Cut(s, ",tls="); found {
		l = APIListener{Address: address, TLS: mode}
	}
	host, port, err := net.SplitHostPort(l.Address)
	if err != nil {
		return l, fmt.Errorf("%q is not host:port, such as 10.0.0.1:8443 or [::1]:8443", l.Address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return l, fmt.Errorf("%q has no port: write a number from 0 to 65535 after the colon", l.Address)
	}
	switch ip := net.ParseIP(host); l.TLS {
	case TLSRequired:
	case TLSOff:
		if ip == nil || !ip.IsLoopback() {
			return l, fmt.Errorf("%s: without TLS, passwords and tokens could be read on the way: leave tls=off away, or listen on 127.0.0.1 or [::1]", s)
		}
	default:
		return l, fmt.Errorf("tls=%s: there are off and required", l.TLS)
	}
	return l, nil
}

// netAPI is the API on the network.
type netAPI struct {
	lns     []net.Listener
	urls    []string
	oneTime string // password of the first user, if this start made it
	api     *apiServer
}

// listenNet opens the addresses, and makes certificates and the first user where
// there are none.
func (r *running) listenNet(ctx context.Context, c RunConfig) error {
	if len(c.API) == 0 {
		return nil
	}
	accounts, err := r.d.Accounts()
	if err != nil {
		return fmt.Errorf("users of the API: %w", err)
	}
	for _, l := range c.API {
		if err := r.listenNetOn(l); err != nil {
			return err
		}
	}
	if r.net.oneTime, err = accounts.Bootstrap(ctx, c.KeepPassword); err != nil {
		return fmt.Errorf("cannot make the first user of the API: %w", err)
	}
	return nil
}

func (r *running) listenNetOn(l APIListener) error {
	ln, err := net.Listen("tcp", l.Address)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("another program serves on %s: stop it or choose another address with --api: %w", l.Address, err)
	}
	if err != nil {
		return err
	}
	url := "http://" + ln.Addr().String()
	capped := netutil.LimitListener(&fairListener{Listener: ln, most: netOwn, ipv6: 64}, netConnections)
	if l.TLS != TLSOff {
		if err := r.openCerts(); err != nil {
			return errors.Join(err, ln.Close())
		}
		url = "https://" + ln.Addr().String()
		capped = tls.NewListener(capped, r.certs.apiConfig())
	}
	r.net.lns, r.net.urls = append(r.net.lns, capped), append(r.net.urls, url)
	return nil
}

// openCerts opens the certificates for the first listener with TLS.
func (r *running) openCerts() (err error) {
	if r.certs == nil {
		r.certs, err = openCerts(filepath.Join(r.d.dir, "tls"), r.d.log)
	}
	return err
}

// apiConfig is config for the API: clients have tokens and need no certificates.
// HTTP/1.1 alone is spoken: each request has a connection, and those are bounded.
func (c *certs) apiConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			config := c.current().Clone()
			config.ClientAuth, config.ClientCAs = tls.NoClientCert, nil
			config.NextProtos = []string{"http/1.1"}
			return config, nil
		},
	}
}

func (n *netAPI) close() {
	for _, ln := range n.lns {
		_ = ln.Close()
	}
}

// serveNet serves the API on the network; b is copied, with the end of its own.
func (r *running) serveNet(b backend) {
	if len(r.net.lns) == 0 {
		return
	}
	accounts, err := r.d.Accounts()
	if err != nil { // it was opened by listenNet
		panic(err)
	}
	a := newAPIServer()
	b.stopping = a.stopping
	r.net.api = a
	a.serve(&http.Server{
		Handler:           restBounded(r.d.netHandler(&b, accounts), r.d.opts.restTime),
		MaxHeaderBytes:    netHeader,
		ReadHeaderTimeout: r.d.opts.headerTime,
		ReadTimeout:       r.d.opts.headerTime + r.d.opts.restTime, // of what no handler sees
		IdleTimeout:       netIdle,
		ErrorLog:          slog.NewLogLogger(netboot.Limited(r.d.log).Handler(), slog.LevelWarn),
	}, r.net.lns...)
}

// netHandler is all that the network listener serves. An adapter of another API
// mounts its handler here, under a path of its own; it asks accounts who makes a
// request (see the package access), checks the role, and hands requests on with
// access.With, so that the audit trail names the user.
func (d *Daemon) netHandler(b *backend, accounts *access.Accounts) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", withRest(v1.NewHandler(b, v1.TokenGate{Accounts: accounts}, d.opts.Version, d.log), b.restHandler(netGate{accounts})))
	return mux
}

// done is closed when the server has ended; nil where there is none.
func (n *netAPI) done() <-chan struct{} {
	if n.api == nil {
		return nil
	}
	return n.api.done
}

func (n *netAPI) drain(ctx context.Context) error {
	if n.api == nil {
		return nil
	}
	return n.api.drain(ctx)
}
