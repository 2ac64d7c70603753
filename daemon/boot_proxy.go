package daemon

import (
	"context"
	"errors"
	"net"
	"time"

	"goldstream/netboot"
	"goldstream/netboot/proxydhcp"
)

// proxyPause is the time between attempts to tell servers where their boot is. Disks
// are served meanwhile: those that run hang on them.
const proxyPause = 30 * time.Second

// checkProxy refuses what cannot be done with a proxy.
func (d *Daemon) checkProxy(c RunConfig) error {
	switch {
	case !c.BootDHCP:
		return nil
	case len(c.Boot) == 0:
		return errors.New("servers are to be told where their boot is, but none is handed out: say where with --boot")
	case d.opts.ReadOnly:
		return errors.New("servers are not told where their boot is while the data is only read: leave out --boot-dhcp")
	}
	return nil
}

// startProxy tells servers where their boot is, as soon as that can be done, and until
// end is called. The first attempt is over when it returns.
func (r *running) startProxy(ctx context.Context) (end func()) {
	life, stop := context.WithCancel(ctx) // a stop does not wait for a start
	o := proxydhcp.Options{Path: netboot.Prefix + "boot.ipxe", Dir: r.d.bootDir("dhcp"), Log: netboot.Limited(r.d.log)}
	if h := r.d.booting.Load(); h != nil {
		o.Asked = h.Asked
	}
	for _, ln := range r.boot.lns {
		if at, ok := ln.Addr().(*net.TCPAddr); ok {
			o.Addresses = append(o.Addresses, at.AddrPort())
		}
	}
	tried, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		p, err := proxydhcp.Start(life, o)
		for close(tried); err != nil; p, err = proxydhcp.Start(life, o) {
			if life.Err() != nil {
				return
			}
			r.d.log.Error("servers are not told where their boot is", "error", err, "again", proxyPause)
			select {
			case <-life.Done():
				return
			case <-time.After(proxyPause):
			}
		}
		<-life.Done()
		p.Close()
	}()
	<-tried
	return func() { stop(); <-done }
}
