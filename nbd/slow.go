package nbd

import "time"

// clock returns the time since the server was made: one reading of the
// monotonic clock, where time.Now takes two.
func (s *Server) clock() time.Duration { return time.Since(s.made) }

// completed counts a request whose device call has ended, and logs it if it was
// slow. It is called before the reply can leave: a client that has the reply
// finds the request counted.
func (c *conn) completed(j *job, err error) {
	took := c.srv.clock() - j.at
	bytes := int64(j.length)
	if err != nil {
		bytes = 0
	}
	c.counters.took(sortOf(j.kind), 1, bytes, took)
	if limit := c.srv.o.SlowRequest; limit > 0 && took >= limit {
		c.counters.slow.Add(1)
		c.logSlow(j, took)
	}
}

// logSlow logs at most a few requests in a second over all connections: when
// the disk is slow all requests are.
func (c *conn) logSlow(j *job, took time.Duration) {
	s := c.srv
	ok, dropped := s.slow.allow(time.Now())
	if !ok {
		return
	}
	args := []any{"export", c.export, "remote", c.remote, "command", commandName(j.kind),
		"offset", j.offset, "length", j.length, "took", took.Round(time.Microsecond)}
	if dropped > 0 {
		args = append(args, "slow_not_logged", dropped)
	}
	s.o.Logger.Warn("nbd: slow request", args...)
}
