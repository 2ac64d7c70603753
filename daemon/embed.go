package daemon

import (
	"context"
	"net"
	"net/http"
	"sync"

	"goldstream/api/v1"
	"goldstream/nbd"
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
		api:    d.serveAPI(pair, nil, nil, nil),
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
	stop   context.CancelFunc // ends what lasts until the daemon stops
	busy   sync.WaitGroup     // requests that are handled
	done   chan struct{}      // closed when Serve has returned
	err    error              // what it returned; valid after done
}

func (d *Daemon) serveAPI(l net.Listener, uris []string, srv *nbd.Server, fence fenceFunc) *apiServer {
	ctx, cancel := context.WithCancel(context.Background())
	stopping, stopLasting := context.WithCancel(context.Background())
	b := &backend{Store: d.store, d: d, nbd: uris, clients: srv, fence: fence, stopping: stopping}
	api := v1.NewServer(b, d.opts.Version, d.log)
	api.Handler = withRest(api.Handler, b.restHandler(socketGate{}))
	api.BaseContext = func(net.Listener) context.Context { return ctx }
	ctx, stop := context.WithCancelCause(ctx) // the one that BaseContext returns
	a := &apiServer{srv: api, cancel: func() { stop(v1.ErrStopping); cancel() }, stop: stopLasting, done: make(chan struct{})}
	api.Handler = a.counted(api.Handler)
	go func() {
		defer close(a.done)
		a.err = api.Serve(l)
	}()
	return a
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
