package nbd

import (
	"runtime"
	"sync"
)

// crew keeps a few workers that have nothing to do. One that has worked has a
// stack as deep as device calls need; a goroutine that begins has to grow it
// again, which costs as much as a short write.
type crew struct {
	rest chan *conn    // takes what a resting worker shall work for
	beds chan struct{} // one for each worker that rests
	end  chan struct{} // closed when the server ends: no worker rests any more
	wg   sync.WaitGroup
}

func (w *crew) init() {
	w.rest = make(chan *conn)
	w.beds = make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	w.end = make(chan struct{})
}

// send has a worker work for c.
func (w *crew) send(c *conn) {
	select {
	case w.rest <- c:
	default:
		w.wg.Add(1)
		go w.worker(c)
	}
}

// worker works for one connection after the other.
func (w *crew) worker(c *conn) {
	defer w.wg.Done()
	for c != nil {
		c.work()
		c = w.next()
	}
}

// next rests until there is a connection to work for; nil says that the worker
// shall end.
func (w *crew) next() *conn {
	select {
	case w.beds <- struct{}{}:
	default:
		return nil
	}
	defer func() { <-w.beds }()
	select {
	case c := <-w.rest:
		return c
	case <-w.end:
		return nil
	}
}
