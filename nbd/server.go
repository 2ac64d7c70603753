package nbd

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// ErrServerClosed is returned by Serve once Shutdown or Close was called.
var ErrServerClosed = errors.New("nbd: server closed")

// Server serves the disks of an Exports. Its methods may be called from many
// goroutines at once.
type Server struct {
	o       Options
	exports Exports
	buffers bufferPool
	pipes   *pipePool
	budget  *byteBudget
	listing chan struct{} // one for each list of exports in the making
	slots   chan struct{} // one for each device call that may wait

	crew      crew
	longSlots chan struct{} // one for each of them that may be long (worker.go)

	made          time.Time
	warnings      warnLimit
	slow          warnLimit     // of slow requests
	finishTimeout time.Duration // finishTimeout, but for tests

	mu struct {
		sync.Mutex
		closing    bool
		listeners  map[*listener]struct{}
		conns      map[*conn]string // the disk each has open, or ""
		inUse      map[string]*use  // open devices by disk (Options.DiskOf)
		hosts      map[string]int   // connections by address (limits.go)
		handshakes int              // connections in the handshake
	}
	wg sync.WaitGroup // connections
}

// use is what the connections of one export share.
type use struct {
	devices int           // open; under Server.mu
	past    Statistics    // of connections that have closed it; under Server.mu
	long    chan struct{} // one for each of its long device calls
}

// listener is what Serve was given. Its connections find it as conn.from.
type listener struct {
	net.Listener
	o ListenerOptions
}

// NewServer returns a server of what exports finds. Shutdown or Close ends it.
func NewServer(exports Exports, o Options) *Server {
	o = o.withDefaults()
	s := &Server{o: o, exports: exports, pipes: newPipePool(), finishTimeout: finishTimeout, made: time.Now()}
	s.budget = &byteBudget{max: o.MaxBytes}
	s.listing = make(chan struct{}, listsAtOnce)
	s.slots = make(chan struct{}, o.IOWorkers)
	s.longSlots = make(chan struct{}, max(1, o.IOWorkers*3/4))
	s.crew.init()
	s.mu.listeners = make(map[*listener]struct{})
	s.mu.conns = make(map[*conn]string)
	s.mu.inUse = make(map[string]*use)
	s.mu.hosts = make(map[string]int)
	return s
}

// Serve accepts connections from ln until ctx is done, Shutdown or Close. It
// closes ln. Connections outlive ctx: Shutdown or Close ends them. Serve may
// be called for any number of listeners.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.ServeListener(ctx, ln, ListenerOptions{})
}

// ServeListener is Serve for a listener with options of its own.
func (s *Server) ServeListener(ctx context.Context, ln net.Listener, o ListenerOptions) error {
	l := &listener{Listener: ln, o: o}
	defer l.Close()
	if !s.addListener(l) {
		return ErrServerClosed
	}
	defer s.removeListener(l)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()

	err := s.acceptAll(ctx, l)
	if s.closing() {
		return ErrServerClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// acceptAll accepts until the listener is closed. Other failures (no file
// descriptors left, say) pass: it tries again, a little later each time.
func (s *Server) acceptAll(ctx context.Context, l *listener) error {
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.admit(l, nc)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.o.Logger.Warn("nbd: cannot accept a connection; trying again", "address", l.Addr(), "in", pause, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// admit starts a connection, or closes it if there are too many.
func (s *Server) admit(l *listener, nc net.Conn) {
	setSocketOptions(nc)
	c := newConn(s, nc)
	c.from = l
	if !s.addConn(c) {
		c.cancel()
		_ = nc.Close()
		return
	}
	go func() {
		defer s.wg.Done()
		defer s.removeConn(c)
		c.serve()
	}()
}

func (s *Server) addConn(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closing {
		return false
	}
	if err := s.mayConnectLocked(c.host); err != nil {
		s.warn("nbd: connection refused: "+err.Error(), "remote", c.remote)
		return false
	}
	s.enterLocked(c)
	s.mu.conns[c] = ""
	s.wg.Add(1)
	return true
}

func (s *Server) removeConn(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c)
	s.leaveLocked(c)
}

func (s *Server) addListener(l *listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closing {
		return false
	}
	s.mu.listeners[l] = struct{}{}
	return true
}

func (s *Server) removeListener(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.listeners, l)
}

func (s *Server) closing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.closing
}

// ActiveConnections returns how many connections are open, those in the
// handshake among them.
func (s *Server) ActiveConnections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.conns)
}

// InUse returns how many connections have the export open.
func (s *Server) InUse(export string) int {
	export = s.o.DiskOf(export)
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.mu.inUse[export]; u != nil {
		return u.devices
	}
	return 0
}

// countUse records that c opened (+1) or closed (-1) the export.
func (s *Server) countUse(c *conn, export string, delta int) {
	export = s.o.DiskOf(export)
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.mu.inUse[export]
	if u == nil {
		u = &use{long: make(chan struct{}, max(1, s.o.IOWorkers/2))}
		s.mu.inUse[export] = u
	}
	u.devices += delta
	if delta < 0 && c.serves.Load() != nil {
		k := c.counters.snapshot()
		u.past.add(&k)
		c.serves.Store(nil)
	}
	if u.devices == 0 {
		delete(s.mu.inUse, export)
	}
	if delta > 0 {
		s.mu.conns[c], c.long = export, u.long
	} else {
		s.mu.conns[c], c.long = "", nil
	}
}

// users returns the connections that have the export open.
func (s *Server) users(export string) []*conn {
	export = s.o.DiskOf(export)
	s.mu.Lock()
	defer s.mu.Unlock()
	var users []*conn
	for c, name := range s.mu.conns {
		if name == export && name != "" {
			users = append(users, c)
		}
	}
	return users
}
