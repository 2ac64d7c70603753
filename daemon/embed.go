package daemon

import (
	"context"
	"net"
	"net/http"
	"sync"

	"goldstream/api/v1"
)

// Embedded is the API inside this process.
type Embedded struct {
	*v1.Client
	api  *apiServer
	dial func(context.Context) (net.Conn, error)
}

// Dial connects to the API as a client of HTTP.
func (e *Embedded) Dial(ctx context.Context) (net.Conn, error) { return e.dial(ctx) }

// Embed serves the API to the client that it returns. Close it before the
// daemon.
func (d *Daemon) Embed() *Embedded {
	pair := v1.NewPair()
	return &Embedded{
		Client: v1.NewClientDial(pair.Dial),
		api:    d.serveAPI(pair, &backend{Store: d.store, d: d}),
		dial:   pair.Dial,
	}
}

// Close waits until work that was cancelled has cleaned up.
func (e *Embedded) Close() error {
	e.Client.Close()
	e.api.cancel()
	return e.api.drain(context.Background())
}

// apiServer is a running server of the API.
type apiServer struct {
	srv    *http.Server
	cancel context.CancelFunc // ends the context of every request
	stop   context.CancelFunc // ends stopping, which is for what lasts until the daemon stops

	stopping context.Context
	busy     sync.WaitGroup // requests that are handled, and listeners
	done     chan struct{}  // closed when a listener has ended
	err      error          // what it returned; valid after done
}

// serveAPI serves the API to whoever may open the socket.
func (d *Daemon) serveAPI(l net.Listener, b *backend) *apiServer {
	a := newAPIServer()
	b.stopping = a.stopping
	srv := v1.NewServer(b, d.opts.Version, d.log)
	srv.Handler = withRest(srv.Handler, b.restHandler(socketGate{}))
	a.serve(srv, l)
	return a
}

func newAPIServer() *apiServer {
	a := &apiServer{done: make(chan struct{})}
	a.stopping, a.stop = context.WithCancel(context.Background())
	return a
}

// serve serves on one listener or more; they all end with the first.
func (a *apiServer) serve(srv *http.Server, lns ...net.Listener) {
	ctx, cancel := context.WithCancelCause(context.Background())
	a.srv, a.cancel = srv, func() { cancel(v1.ErrStopping) }
	srv.BaseContext = func(net.Listener) context.Context { return ctx }
	srv.Handler = a.counted(srv.Handler)
	ends := make(chan error, len(lns))
	for _, l := range lns {
		a.busy.Add(1)
		go func() {
			defer a.busy.Done()
			ends <- srv.Serve(l)
		}()
	}
	go func() {
		defer close(a.done)
		a.err = <-ends
	}()
}

// counted counts the requests that h handles: a server that was closed does not
// wait for them, but the store must.
func (a *apiServer) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.busy.Add(1)
		defer a.busy.Done()
		h.ServeHTTP(w, r)
	})
}

// drain waits for requests under way until ctx ends, then cancels them and waits
// for their clean-up.
func (a *apiServer) drain(ctx context.Context) error {
	defer a.cancel()
	a.stop()
	err := a.srv.Shutdown(ctx)
	if err != nil {
		a.cancel()
		cleanup, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		err = a.srv.Shutdown(cleanup)
	}
	if err != nil {
		err = a.srv.Close()
	}
	<-a.done
	a.cancel()    // mounts, which Shutdown does not know
	a.busy.Wait() // their connections are closed: they end
	return err
}
