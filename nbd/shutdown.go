package nbd

import "context"

// Shutdown ends the server in order: it accepts no more, and each connection
// reads no more, answers what it has read, flushes its device and closes it.
// No client gets an error for it. Clients still in the handshake are cut.
//
// When ctx is done first, the rest is ended as by Close, without waiting for
// it, and ctx's error returned.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, c := range s.stop() {
		c.drain()
	}
	done := make(chan struct{})
	go func() {
		s.wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		for _, c := range s.stop() {
			c.kill()
		}
		return ctx.Err()
	}
}

// Close ends the server at once. Requests in flight are not answered; their
// device calls are cancelled, and Close waits for them to return.
func (s *Server) Close() error {
	for _, c := range s.stop() {
		c.kill()
	}
	s.wait()
	return nil
}

// wait waits for the connections, and then for the workers, which nobody sends
// any more.
func (s *Server) wait() {
	s.wg.Wait()
	s.crew.wg.Wait()
	s.pipes.close()
}

// stop closes the listeners and returns the connections, which are now the
// last.
func (s *Server) stop() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.closing {
		s.mu.closing = true
		close(s.crew.end)
	}
	for l := range s.mu.listeners {
		_ = l.Close()
	}
	conns := make([]*conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	return conns
}

// Fence cuts every connection that has the export open and returns when none
// of their requests can reach the device any more. A client that lost its
// connection sends unanswered writes again; without the fence an old copy
// could overwrite something newer. The caller must see to it that Exports
// lets nobody open the export meanwhile.
func (s *Server) Fence(ctx context.Context, export string) error {
	return endAll(ctx, s.users(export))
}

// endAll kills the connections and waits until nothing is left of them.
func endAll(ctx context.Context, conns []*conn) error {
	for _, c := range conns {
		c.kill() // all of them, however long one takes to end
	}
	for _, c := range conns {
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
