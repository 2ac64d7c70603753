package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"goldstream/netboot"
)

const (
	bootConnections = 4096 // at once; more wait
	bootHeader      = 8 << 10
	bootTimeout     = 10 * time.Second // to send a request
	bootIdle        = 30 * time.Second
	bootDrain       = time.Second
)

// bootServer hands out boots on some addresses.
type bootServer struct {
	srv  *http.Server
	lns  []net.Listener
	ends chan error
}

// listenBoot opens the addresses, before NBD and the API are served.
func (r *running) listenBoot(addresses []string) error {
	for _, a := range addresses {
		ln, err := net.Listen("tcp", a)
		if err != nil {
			r.boot.close()
			return fmt.Errorf("boot address %s: %w", a, err)
		}
		r.boot.lns = append(r.boot.lns, netutil.LimitListener(&fairListener{Listener: ln, most: bootOwn}, bootConnections))
	}
	return nil
}

func (b *bootServer) close() {
	for _, ln := range b.lns {
		_ = ln.Close()
	}
}

// addresses are where it listens.
func (b *bootServer) addresses() (list []string) {
	for _, ln := range b.lns {
		list = append(list, ln.Addr().String())
	}
	return list
}

func (r *running) serveBoot() {
	if len(r.boot.lns) == 0 {
		return
	}
	host := &bootHost{d: r.d}
	for i, ln := range r.lns {
		if !r.how[i].RequireTLS {
			host.listeners = append(host.listeners, ln)
		}
	}
	guest := &helper{path: r.d.opts.Guest}
	handler := netboot.NewHandler(netboot.Options{Host: host, Helper: guest.read, Log: r.d.log})
	if _, err := guest.read(); err != nil {
		r.d.log.Error("servers cannot boot from the network", "error", err)
	}
	r.d.booting.Store(handler)
	r.boot.srv = &http.Server{
		Handler: handler, MaxHeaderBytes: bootHeader, ReadTimeout: bootTimeout, IdleTimeout: bootIdle,
		ErrorLog: slog.NewLogLogger(netboot.Limited(r.d.log).Handler(), slog.LevelWarn),
	}
	r.boot.ends = make(chan error, len(r.boot.lns))
	for _, ln := range r.boot.lns {
		go func() { r.boot.ends <- r.boot.srv.Serve(ln) }()
	}
}

// drain lets short answers that are under way end, and breaks off the rest: whoever
// asks decides how long a request takes. Servers ask again.
func (b *bootServer) drain(ctx context.Context) error {
	if b.srv == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, bootDrain)
	defer cancel()
	err := b.srv.Shutdown(ctx)
	if err != nil {
		err = b.srv.Close()
	}
	for range b.lns {
		if e := <-b.ends; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}
