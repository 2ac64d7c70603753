package task

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Options of an engine; the zero value works.
type Options struct {
	// Workers is how many tasks run at once. Default 4.
	Workers int
	// Waiting is how many may wait; more are refused. Default 10,000.
	Waiting int
	// Keep is how many finished tasks are kept to be read. Default 1,000.
	Keep int
	// UndoTimeout is how long one try of an Undo may take. Default 10 minutes.
	UndoTimeout time.Duration
	// UndoTries is how often an Undo is tried, and UndoPause how long the first
	// of the pauses between takes; each is twice as long. Default 5 and 1 s.
	UndoTries int
	UndoPause time.Duration
	Clock     Clock        // default: the machine's
	Logger    *slog.Logger // default: none

	// Unfinished is called by Open, before any step runs, for each task that goes on.
	Unfinished func(kind, id string)

	// Failpoint is called at each place where a kill is worth a test.
	Failpoint func(name string)
}

func (o Options) withDefaults() Options {
	set := func(n *int, to int) {
		if *n == 0 {
			*n = to
		}
	}
	set(&o.Workers, 4)
	set(&o.Waiting, 10_000)
	set(&o.Keep, 1000)
	set(&o.UndoTries, 5)
	if o.UndoTimeout == 0 {
		o.UndoTimeout = 10 * time.Minute
	}
	if o.UndoPause == 0 {
		o.UndoPause = time.Second
	}
	if o.Clock == nil {
		o.Clock = machineClock{time.Now()}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Unfinished == nil {
		o.Unfinished = func(_, _ string) {}
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	return o
}

// Engine runs tasks. It is safe for concurrent use.
type Engine[Tx any] struct {
	journal Journal[Tx]
	kinds   map[string]Kind[Tx]
	o       Options

	base context.Context // of all steps
	// alive never ends: a save is not cut short.
	alive context.Context
	stop  context.CancelCauseFunc
	busy  sync.WaitGroup // workers

	// Taken in this order, before mu.
	submitting sync.Mutex // from the admission of a task until it is durable
	saving     sync.Mutex // one save at a time, in the order of their contents

	mu struct {
		sync.Mutex
		tasks    map[string]*entry
		keys     map[string]*entry // by request key
		subjects map[string]*entry // of tasks that are not finished
		queue    queue
		waiting  int
		running  int
		counters counters
		closed   bool
	}
}

// entry is a task in memory. Its fields belong to the engine's lock.
type entry struct {
	rec      record
	revision uint64
	changed  chan struct{} // closed at the next change
	percent  int
	cancel   context.CancelCauseFunc // while steps run
	halted   string
	hide     func(string) string
	queued   bool
	counting bool          // time is taken off what is left of the deadline
	from     time.Duration // Uptime up to which that was done
}

// Open loads the journal and goes on with what is not finished. All kinds must
// be given.
func Open[Tx any](ctx context.Context, journal Journal[Tx], kinds []Kind[Tx], o Options) (*Engine[Tx], error) {
	e := &Engine[Tx]{journal: journal, kinds: map[string]Kind[Tx]{}, o: o.withDefaults()}
	for _, k := range kinds {
		if k.Name == "" || len(k.Steps) == 0 || e.kinds[k.Name].Name != "" {
			return nil, errf(ErrInvalid, "a kind needs a name of its own, and steps: %q", k.Name)
		}
		e.kinds[k.Name] = k
	}
	e.mu.tasks, e.mu.keys, e.mu.subjects = map[string]*entry{}, map[string]*entry{}, map[string]*entry{}
	if err := e.load(ctx); err != nil {
		return nil, err
	}
	e.alive = context.WithoutCancel(ctx)
	e.base, e.stop = context.WithCancelCause(e.alive)
	for _, t := range e.mu.tasks { // nobody else has the engine yet
		if !t.rec.State.Finished() {
			e.o.Unfinished(t.rec.Kind, t.rec.ID)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.inOrder() {
		e.mu.counters.Order = max(e.mu.counters.Order, t.rec.Order)
		e.mu.counters.Fence = max(e.mu.counters.Fence, t.rec.Fence)
		if !t.rec.State.Finished() {
			e.enqueue(t)
		}
	}
	return e, nil
}

func (e *Engine[Tx]) load(ctx context.Context) error {
	return e.journal.LoadJournal(ctx, func(id string, b []byte) error {
		if id == "" {
			return json.Unmarshal(b, &e.mu.counters)
		}
		rec, err := decode(id, b)
		if err != nil {
			return err
		}
		e.remember(&entry{rec: rec, changed: make(chan struct{})})
		return nil
	})
}

// remember puts a task into the maps. The lock is held.
func (e *Engine[Tx]) remember(t *entry) {
	e.mu.tasks[t.rec.ID] = t
	if t.rec.Key != "" {
		e.mu.keys[t.rec.Key] = t
	}
	if t.rec.Subject != "" && !t.rec.State.Finished() {
		e.mu.subjects[t.rec.Subject] = t
	}
}

// forget is the opposite.
func (e *Engine[Tx]) forget(t *entry) {
	delete(e.mu.tasks, t.rec.ID)
	if e.mu.keys[t.rec.Key] == t {
		delete(e.mu.keys, t.rec.Key)
	}
	if e.mu.subjects[t.rec.Subject] == t {
		delete(e.mu.subjects, t.rec.Subject)
	}
}

// inOrder lists all tasks as they were submitted. The lock is held.
func (e *Engine[Tx]) inOrder() []*entry {
	return slices.SortedFunc(maps.Values(e.mu.tasks), func(a, b *entry) int {
		return int(int64(a.rec.Order - b.rec.Order))
	})
}

// Request asks for a task.
type Request struct {
	Kind    string
	Name    string // for people
	Owner   string // who asks; takes turns with others
	Subject string // that no other unfinished task may have; "" is none
	About   string // names for good what the task works on, for others to find; "" is none
	// Key makes a request that is sent again the same task; "" is none.
	Key string
	// Digest tells requests of one key apart; default: one of kind, subject and
	// input.
	Digest string
	Input  any // as JSON; what the steps get. It is never shown.
}

// Known returns the task that a key was used for, if it was. Error: ErrKey.
func (e *Engine[Tx]) Known(key, digest string) (i Info, known bool, err error) {
	e.submitting.Lock() // the task may not be durable yet
	defer e.submitting.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.mu.keys[key]
	if t == nil || key == "" {
		return Info{}, false, nil
	}
	if t.rec.Digest != digest {
		return Info{}, false, keyUsed(t)
	}
	return t.info(), true, nil
}

func keyUsed(t *entry) error {
	return errf(ErrKey, "the request ID %q was used for task %s, which is another: use a new one", t.rec.Key, t.rec.ID)
}

// Submit makes a task durable and has it run. A request with a key that was
// used before returns that task. Errors: ErrInvalid, ErrBusy, ErrKey, ErrFull,
// ErrClosed, those of the journal.
func (e *Engine[Tx]) Submit(ctx context.Context, req Request) (Info, error) {
	return e.SubmitWith(ctx, req, nil)
}

// SubmitWith is Submit with changes of the caller's own in the same commit, so
// that there is never one without the other: also gets the ID of the task. It is
// not called for a task that was there before. Errors as Submit, and those of also.
func (e *Engine[Tx]) SubmitWith(ctx context.Context, req Request, also func(tx Tx, id string) error) (Info, error) {
	kind, ok := e.kinds[req.Kind]
	if !ok || req.Owner == "" || req.Name == "" {
		return Info{}, errf(ErrInvalid, "a task needs a kind that is known, a name and an owner: kind %q, name %q", req.Kind, req.Name)
	}
	input, err := json.Marshal(req.Input)
	if err != nil {
		return Info{}, errf(ErrInvalid, "the input of task %q: %v", req.Name, err)
	}
	t := &entry{changed: make(chan struct{}), rec: record{
		ID: rand.Text(), Kind: kind.Name, Name: req.Name, Owner: req.Owner, Subject: req.Subject, About: req.About, Key: req.Key,
		Input: input, State: Pending, Created: e.o.Clock.Wall().UTC(), Limited: kind.Deadline > 0, Left: kind.Deadline,
	}}
	t.rec.Digest = digest(req, input)
	for _, s := range kind.Steps {
		t.rec.Steps = append(t.rec.Steps, StepInfo{Name: s.Name})
	}
	e.submitting.Lock()
	defer e.submitting.Unlock()
	known, err := e.admit(t)
	if err != nil || known != nil {
		return e.infoOf(known), err
	}
	var with Commit[Tx]
	if also != nil {
		with = func(tx Tx) error { return also(tx, t.rec.ID) }
	}
	if err := e.commit(t, func(*record) {}, with); err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.forget(t)
		e.mu.waiting--
		return Info{}, err
	}
	e.o.Failpoint("submitted")
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.waiting-- // enqueue counts it again
	if !e.mu.closed && !t.rec.State.Finished() {
		e.enqueue(t)
	}
	return t.info(), nil
}

func digest(req Request, input []byte) string {
	if req.Key == "" || req.Digest != "" {
		return req.Digest
	}
	sum := sha256.Sum256([]byte(req.Kind + "\x00" + req.Subject + "\x00" + string(input)))
	return hex.EncodeToString(sum[:])
}

// admit reserves key and subject, or returns the task that the key names.
func (e *Engine[Tx]) admit(t *entry) (known *entry, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.closed {
		return nil, errf(ErrClosed, "task %q is refused: the program stops", t.rec.Name)
	}
	if old := e.mu.keys[t.rec.Key]; old != nil && t.rec.Key != "" {
		if old.rec.Digest != t.rec.Digest {
			return nil, keyUsed(old)
		}
		return old, nil
	}
	if old := e.mu.subjects[t.rec.Subject]; old != nil && t.rec.Subject != "" {
		return nil, errf(ErrBusy, "task %s (%s) still works on %s: wait for it, or cancel it", old.rec.ID, old.rec.Name, t.rec.Subject)
	}
	if e.mu.waiting >= e.o.Waiting {
		return nil, errf(ErrFull, "%d tasks wait already: try again later", e.mu.waiting)
	}
	e.mu.waiting++
	e.mu.counters.Order++
	t.rec.Order = e.mu.counters.Order
	e.remember(t)
	return nil, nil
}

// enqueue has a task run when its turn comes. The lock is held.
func (e *Engine[Tx]) enqueue(t *entry) {
	e.mu.queue.push(t)
	t.queued = true
	e.mu.waiting++
	if e.mu.running < e.o.Workers {
		e.mu.running++
		e.busy.Add(1)
		go e.work()
	}
}

// work runs tasks until none waits.
func (e *Engine[Tx]) work() {
	defer e.busy.Done()
	for {
		e.mu.Lock()
		var t *entry
		if !e.mu.closed {
			t = e.mu.queue.pop()
		}
		if t == nil {
			e.mu.running--
			e.mu.Unlock()
			return
		}
		e.mu.waiting--
		t.queued = false
		ctx, cancel := context.WithCancelCause(e.base)
		t.cancel = cancel
		if t.rec.Cancel {
			cancel(ErrCancelled)
		}
		e.mu.Unlock()
		e.run(ctx, t)
		cancel(nil)
	}
}

// Close ends all steps with ErrStopping and waits for them. Tasks that are not
// finished go on at the next Open.
func (e *Engine[Tx]) Close() {
	e.mu.Lock()
	e.mu.closed = true
	for _, t := range e.mu.tasks {
		t.wake() // who waits for it learns
	}
	e.mu.Unlock()
	e.stop(ErrStopping)
	e.busy.Wait()
}
