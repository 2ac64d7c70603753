package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/jail"
	"goldstream/nbd"
)

// cleanupTimeout bounds how long cancelled API work may take to undo itself.
const cleanupTimeout = 5 * time.Second

// RunConfig says what Run serves.
type RunConfig struct {
	NBD []Listener
	// Boot are addresses, host:port, where servers get their boots by HTTP.
	Boot []string
	// BootDHCP has servers told of those addresses, beside another DHCP server.
	BootDHCP bool
	// API are addresses where the API is served over the network.
	API []APIListener
	// KeepPassword has the one-time password of the first user put in
	// DATA/access/first-password too, where ReadyAPI shows it to nobody.
	KeepPassword bool
	// ReadyAPI is called before Ready where the API is served over the network: with
	// its URLs, and the one-time password of the user administrator where this start
	// made it.
	ReadyAPI func(urls []string, oneTimePassword string)
	// Ready is called once everything is served, with the URIs of the NBD
	// listeners.
	Ready func(uris []string)
	// Force, when done, cuts a drain short. May be nil.
	Force context.Context
}

// running is what Run has started.
type running struct {
	d     *Daemon
	force context.Context
	nbd   *nbd.Server
	lns   []net.Listener
	how   []nbd.ListenerOptions // of each of lns
	certs *certs                // made for the first listener with TLS
	uris  []string
	ends  chan error // one from each NBD listener
	api   *apiServer
	boot  bootServer
	net   netAPI
}

// Run serves until ctx ends, then drains. The store stays open: Close it after.
func (d *Daemon) Run(ctx context.Context, c RunConfig) error {
	r := &running{d: d, force: c.Force}
	if r.force == nil {
		r.force = context.Background()
	}
	if err := d.checkProxy(c); err != nil {
		return err
	}
	if err := r.listen(c.NBD); err != nil {
		return err
	}
	if err := r.listenBoot(c.Boot); err != nil {
		r.closeListeners()
		return err
	}
	if err := r.listenNet(ctx, c); err != nil {
		r.closeListeners()
		return err
	}
	sock, removeSocket, err := d.listenAPI()
	if err != nil {
		r.closeListeners()
		return fmt.Errorf("API socket: %w", err)
	}
	if err := jail.MakeRoom(); err != nil {
		d.log.Warn("no room for cgroups of jails", "error", err)
	}
	probing, endProbe := context.WithCancel(ctx)
	probed := startProbe(probing, d.log)
	defer func() { endProbe(); <-probed }()
	if err := d.openStore(ctx); err != nil { // it knows which exports are closed
		d.log.Error("the store of profiles, plans and tasks cannot be opened", "error", err)
	}
	d.cells.makeAhead()
	// Before NBD is served, for volumes that tasks are at.
	if _, _, err := d.life(ctx); err != nil && !d.opts.ReadOnly {
		d.log.Error("plans and tasks cannot be used; disks are served all the same", "error", err)
	}
	r.serve(sock)
	if !d.opts.ReadOnly {
		d.cells.warm(probing)
	}
	if c.BootDHCP {
		defer r.startProxy(ctx)()
	}
	d.log.Info("ready", "version", d.opts.Version, "data", d.dir, "nbd", r.uris, "boot", r.boot.addresses(), "api", r.net.urls, "pid", os.Getpid())
	notify("READY=1")
	if c.ReadyAPI != nil && len(r.net.urls) > 0 {
		c.ReadyAPI(r.net.urls, r.net.oneTime)
	}
	if c.Ready != nil {
		c.Ready(r.uris)
	}
	err = r.wait(ctx)
	notify("STOPPING=1")
	return errors.Join(err, r.drain(), removeSocket())
}

// listenAPI makes the socket of the API. There is none in a data directory that
// is only read: commands read that themselves.
func (d *Daemon) listenAPI() (l net.Listener, remove func() error, err error) {
	if d.opts.ReadOnly {
		return v1.NewPair(), func() error { return nil }, nil
	}
	socket := filepath.Join(d.dir, v1.SocketName)
	l, err = v1.Listen(socket)
	return l, func() error { return os.Remove(socket) }, err
}

func (r *running) listen(ls []Listener) error {
	for _, l := range ls {
		ln, uri, err := l.listen()
		if err != nil {
			r.closeListeners()
			return err
		}
		if exposed(ln.Addr()) {
			r.d.log.Info("NBD is open to the network: volumes are opened by token there ('goldstream export create')", "address", ln.Addr().String())
		}
		r.lns = append(r.lns, ln)
		mode := l.mode(ln.Addr())
		o, err := r.options(mode, exposed(ln.Addr()))
		if err != nil {
			r.closeListeners()
			return err
		}
		if mode == TLSRequired {
			uri = strings.Replace(uri, "nbd", "nbds", 1)
		}
		r.how, r.uris = append(r.how, o), append(r.uris, uri)
	}
	return nil
}

// options are how a listener is served in a TLS mode. Whoever is not on this
// host has to know a token.
func (r *running) options(mode string, exposed bool) (o nbd.ListenerOptions, err error) {
	if exposed {
		o.Grants = &grants{r.d.store, r.d.tokens}
	}
	if mode == TLSOff {
		return o, nil
	}
	if _, err := os.Stat(filepath.Join(r.d.dir, "tls")); err != nil && r.d.opts.ReadOnly {
		return o, fmt.Errorf("no certificates can be made for TLS where nothing is changed: serve with tls=off on loopback or a Unix socket: %w", err)
	}
	if err := r.openCerts(); err != nil {
		return o, err
	}
	o.TLS, o.RequireTLS = r.certs.config(), mode == TLSRequired
	return o, nil
}

func (r *running) closeListeners() {
	r.boot.close()
	r.net.close()
	for _, ln := range r.lns {
		ln.Close()
	}
}

func (r *running) serve(sock net.Listener) {
	e := r.d.exports
	r.nbd = nbd.NewServer(e, nbd.Options{Logger: r.d.log, OnStall: blockstore.OnStall, SlowRequest: r.d.opts.SlowRequest, DiskOf: diskOf})
	r.d.clients.Store(r.nbd)
	r.ends = make(chan error, len(r.lns))
	for i, ln := range r.lns {
		go func() { r.ends <- r.nbd.ServeListener(context.Background(), ln, r.how[i]) }()
	}
	b := &backend{Store: r.d.store, d: r.d, nbd: r.uris, clients: r.nbd, fence: fence(e, r.nbd)}
	r.api = r.d.serveAPI(sock, b)
	r.serveNet(*b)
	r.serveBoot()
}

// wait returns when ctx ends, or earlier with the error of a listener that
// failed.
func (r *running) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-r.ends:
		r.ends <- err // drain counts one from each
		return fmt.Errorf("the NBD server stopped: %w", err)
	case <-r.api.done:
		return fmt.Errorf("the API server stopped: %w", r.api.err)
	case <-r.net.done():
		return fmt.Errorf("the API server of the network stopped: %w", r.net.api.err)
	}
}

// drain stops what serve started, in the order of the package's description.
func (r *running) drain() error {
	start := time.Now()
	r.d.draining.Store(true)
	r.d.log.Info("stopping")
	ctx, cancel := r.timeout()
	bootDrained := make(chan error, 1)
	go func() { bootDrained <- r.boot.drain(r.force) }() // takes none of the time of NBD
	if err := r.nbd.Shutdown(ctx); err != nil {
		r.d.log.Warn("NBD connections are cut off", slog.Any("error", err))
		r.d.store.EndStalls() // flushes may wait for space
		r.cutOff()
	}
	cancel()
	for range r.lns {
		<-r.ends
	}
	bootErr := <-bootDrained
	// Requests that wait for tasks end with them.
	tasksErr := r.d.endTasks()
	r.d.cells.close()
	ctx, cancel = r.timeout()
	defer cancel()
	netDrained := make(chan error, 1)
	go func() { netDrained <- r.net.drain(ctx) }()
	err := errors.Join(bootErr, tasksErr, r.api.drain(ctx), <-netDrained)
	r.d.log.Info("stopped", "took", time.Since(start).Round(time.Millisecond))
	return err
}

// cutOff waits until the connections are closed, for a while: a device call
// that waits for metadata which stands still for good never returns.
func (r *running) cutOff() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		r.nbd.Close()
	}()
	select {
	case <-closed:
	case <-time.After(cleanupTimeout):
		r.d.log.Warn("requests that do not end are left to the end of the process")
	}
}

// timeout returns a context for one part of the drain.
func (r *running) timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.force, r.d.opts.DrainTimeout)
}
