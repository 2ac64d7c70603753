package task

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
)

type (
	tx   = *store.Tx
	kind = Kind[tx]
	step = Step[tx]
)

// site is a store in memory that engines are opened on, one after the other.
type site struct {
	t       *testing.T
	fs      vfs.FS
	o       Options
	kinds   []kind
	store   *store.Store
	engine  *Engine[tx]
	failing atomic.Bool // saves fail
}

func newSite(t *testing.T, o Options, kinds ...kind) *site {
	s := &site{t: t, fs: vfs.NewMem(), o: o, kinds: kinds}
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *site) open() {
	var err error
	s.store, err = store.Open("/d", store.Options{FS: s.fs})
	require.NoError(s.t, err)
	if s.o.UndoPause == 0 {
		s.o.UndoPause = time.Millisecond
	}
	s.engine, err = Open[tx](context.Background(), s, s.kinds, s.o)
	require.NoError(s.t, err)
}

func (s *site) close() {
	if s.engine != nil {
		s.engine.Close()
		require.NoError(s.t, s.store.Close())
		s.engine = nil
	}
}

func (s *site) LoadJournal(ctx context.Context, each func(string, []byte) error) error {
	return s.store.LoadJournal(ctx, each)
}

func (s *site) SaveJournal(ctx context.Context, who, why, task string, records map[string][]byte, also func(tx) error) error {
	if s.failing.Load() {
		return errors.New("disk failed")
	}
	return s.store.SaveJournal(ctx, who, why, task, records, also)
}

func (s *site) submit(req Request) Info {
	s.t.Helper()
	if req.Owner == "" {
		req.Owner = "me"
	}
	if req.Name == "" {
		req.Name = "n"
	}
	i, err := s.engine.Submit(context.Background(), req)
	require.NoError(s.t, err)
	return i
}

// until waits for a task to be as ok says.
func (s *site) until(id string, ok func(Info) bool) Info {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	i, err := s.engine.Get(id, 0)
	for err == nil && !ok(i) {
		require.False(s.t, i.State.Finished(), "%+v", i)
		i, err = s.engine.Wait(ctx, id, i.Revision, 0)
	}
	require.NoError(s.t, err)
	return i
}

func (s *site) finished(id string) Info {
	s.t.Helper()
	return s.until(id, func(i Info) bool { return i.State.Finished() })
}

// enclosure is a commit that makes a resource.
func enclosure(name string) Commit[tx] {
	return func(tx tx) error { return tx.Create(&model.Enclosure{Meta: model.Meta{Name: name}}) }
}

func removed(name string) Commit[tx] {
	return func(tx tx) error {
		r, err := tx.ByName(model.Enclosures, name)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return tx.Delete(r.Head().URI, store.AnyETag)
	}
}

func (s *site) has(name string) bool {
	err := s.store.View(context.Background(), func(r *store.Reader) error {
		_, err := r.ByName(model.Enclosures, name)
		return err
	})
	return err == nil
}

// trace notes what steps did, in order.
type trace struct {
	mu   sync.Mutex
	what []string
}

func (tr *trace) add(what string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.what = append(tr.what, what)
}

func (tr *trace) get() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]string{}, tr.what...)
}

// traced is a step that notes what it does; err is what its Do returns.
func (tr *trace) step(name string, err error) step {
	return step{
		Name: name,
		Do:   func(context.Context, *Run) (Commit[tx], error) { tr.add("do " + name); return enclosure(name), err },
		Undo: func(context.Context, *Run) (Commit[tx], error) { tr.add("undo " + name); return removed(name), nil },
	}
}

func TestTaskIsDone(t *testing.T) {
	tr := &trace{}
	last := step{Name: "c", Weight: 2, Do: func(ctx context.Context, r *Run) (Commit[tx], error) {
		var in struct{ Color string }
		require.NoError(t, r.Input(&in))
		r.Hide(func(s string) string { return strings.ReplaceAll(s, "secret", "*") })
		r.Logf("color %s\nsecret", in.Color)
		w := r.Log()
		fmt.Fprintf(w, "one\ntw")
		fmt.Fprintf(w, "o")
		require.NoError(t, w.Close())
		r.Progress(0.5)
		require.Positive(t, r.Fence())
		require.Equal(t, r.ID()+"/c", r.RequestID())
		return nil, r.Result(map[string]int{"n": 1})
	}}
	s := newSite(t, Options{}, kind{Name: "k", Steps: []step{tr.step("a", nil), tr.step("b", nil), last}})
	i := s.submit(Request{Kind: "k", Input: map[string]string{"color": "red"}})
	require.Equal(t, Pending, i.State)
	i = s.finished(i.ID)
	require.Equal(t, Completed, i.State)
	require.Equal(t, 100, i.Percent)
	require.Equal(t, []string{"do a", "do b"}, tr.get())
	require.True(t, s.has("a") && s.has("b"))
	require.JSONEq(t, `{"n":1}`, fmt.Sprintf("%s", i.Result))
	var lines []string
	for _, l := range i.Log {
		lines = append(lines, l.Step+" "+l.Text)
	}
	require.Equal(t, []string{"c color red", "c *", "c one", "c two"}, lines)
	i, err := s.engine.Get(i.ID, 3)
	require.NoError(t, err)
	require.Len(t, i.Log, 1)
	entries, err := s.store.Audit(context.Background(), 1, 10)
	require.NoError(t, err)
	require.Len(t, entries, 2, "what a step commits is in the audit trail, the task itself not")
	require.Equal(t, i.ID, entries[0].Cause.Task)
}

// TestSecretsInLongLinesAreHidden has a secret at each place around the one
// where a long line is cut.
func TestSecretsInLongLinesAreHidden(t *testing.T) {
	const secret = "hunter2"
	s := newSite(t, Options{}, kind{Name: "k", Steps: []step{{Name: "a", Do: func(_ context.Context, r *Run) (Commit[tx], error) {
		r.Hide(func(s string) string { return strings.ReplaceAll(s, secret, "*") })
		w := r.Log()
		for before := maxLineSize - len(secret); before <= maxLineSize; before++ {
			fmt.Fprintf(w, "%s%s%s", strings.Repeat("x", before), secret[:3], secret[3:])
			fmt.Fprintf(w, "%s\n", strings.Repeat("y", maxLineSize))
		}
		fmt.Fprintf(w, "%s%s\nnext", strings.Repeat("x", maxHeld-3), secret)
		return nil, w.Close()
	}}}})
	i := s.finished(s.submit(Request{Kind: "k"}).ID)
	require.Equal(t, Completed, i.State)
	var text strings.Builder
	for _, l := range i.Log {
		require.LessOrEqual(t, len(l.Text), maxLineSize)
		text.WriteString(l.Text)
	}
	require.NotContains(t, text.String(), "hun")
	require.NotContains(t, text.String(), "r2")
	require.Equal(t, len(secret)+1, strings.Count(text.String(), "*"))
	require.Equal(t, (len(secret)+1)*maxLineSize, strings.Count(text.String(), "y"), "nothing is lost")
	require.Equal(t, "a line of more than 1024 KiB is left out", i.Log[len(i.Log)-2].Text)
	require.Equal(t, "next", i.Log[len(i.Log)-1].Text)
}

func TestFailureUndoesTheLastFirst(t *testing.T) {
	tr := &trace{}
	s := newSite(t, Options{}, kind{Name: "k", Steps: []step{tr.step("a", nil), tr.step("b", nil), tr.step("c", &advised{"boom"}), tr.step("d", nil)}})
	i := s.finished(s.submit(Request{Kind: "k"}).ID)
	require.Equal(t, Failed, i.State)
	require.Equal(t, &Failure{Step: "c", Message: "boom", Advice: []string{"duck"}}, i.Failure)
	require.Equal(t, 100, i.Percent)
	require.Equal(t, []string{"do a", "do b", "do c", "undo c", "undo b", "undo a"}, tr.get())
	require.False(t, s.has("a") || s.has("b"))
}

type advised struct{ text string }

func (a *advised) Error() string    { return a.text }
func (a *advised) Advice() []string { return []string{"duck"} }

func TestWhatCannotBeUndoneIsNamed(t *testing.T) {
	tr := &trace{}
	stuck := tr.step("b", nil)
	tries := 0
	stuck.Undo = func(context.Context, *Run) (Commit[tx], error) { tries++; return nil, errors.New("held") }
	s := newSite(t, Options{UndoTries: 3}, kind{Name: "k", Steps: []step{tr.step("a", nil), stuck, tr.step("c", errors.New("boom"))}})
	i := s.finished(s.submit(Request{Kind: "k"}).ID)
	require.Equal(t, []string{"b"}, i.Failure.Left)
	require.Equal(t, 3, tries)
	require.False(t, s.has("a"), "the others are undone")
	require.True(t, s.has("b"))
}

func TestCommitThatFailsUndoes(t *testing.T) {
	tr := &trace{}
	twice := step{Name: "b", Do: func(context.Context, *Run) (Commit[tx], error) { return enclosure("a"), nil }}
	s := newSite(t, Options{}, kind{Name: "k", Steps: []step{tr.step("a", nil), twice}})
	i := s.finished(s.submit(Request{Kind: "k"}).ID)
	require.Equal(t, Failed, i.State)
	require.Contains(t, i.Failure.Message, "taken")
	require.False(t, s.has("a"))
}

func TestPanicIsAFailure(t *testing.T) {
	s := newSite(t, Options{}, kind{Name: "k", Steps: []step{{Name: "a", Do: func(context.Context, *Run) (Commit[tx], error) { panic("oops") }}}})
	i := s.finished(s.submit(Request{Kind: "k"}).ID)
	require.Equal(t, "a fault in the program: oops", i.Failure.Message)
}

// gate is a step that says when it began and waits to be let go.
type gate struct {
	began chan string
	free  chan struct{}
}

func newGate() *gate { return &gate{make(chan string, 100), make(chan struct{})} }

func (g *gate) step() step {
	return step{Name: "gate", Do: func(ctx context.Context, r *Run) (Commit[tx], error) {
		g.began <- r.ID()
		select {
		case <-g.free:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
}

func TestCancel(t *testing.T) {
	tr, g := &trace{}, newGate()
	s := newSite(t, Options{Workers: 1}, kind{Name: "k", Steps: []step{tr.step("a", nil), g.step()}})
	running, waiting := s.submit(Request{Kind: "k"}), s.submit(Request{Kind: "k"})
	<-g.began
	i, err := s.engine.Cancel(waiting.ID)
	require.NoError(t, err)
	require.Equal(t, Cancelled, i.State, "it never began")
	_, err = s.engine.Cancel(running.ID)
	require.NoError(t, err)
	i = s.finished(running.ID)
	require.Equal(t, Cancelled, i.State)
	require.Nil(t, i.Failure)
	require.Equal(t, []string{"do a", "undo a"}, tr.get())
	_, err = s.engine.Cancel(running.ID)
	require.ErrorIs(t, err, ErrFinished)
	_, err = s.engine.Cancel("x")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestKeysAndSubjects(t *testing.T) {
	g := newGate()
	s := newSite(t, Options{Waiting: 3}, kind{Name: "k", Steps: []step{g.step()}})
	req := Request{Kind: "k", Owner: "me", Name: "n", Subject: "web-1", Key: "1", Input: 5}
	first := s.submit(req)
	require.Equal(t, first.ID, s.submit(req).ID, "the same request is the same task")
	submit := func(req Request) error { _, err := s.engine.Submit(context.Background(), req); return err }
	req.Input = 6
	require.ErrorIs(t, submit(req), ErrKey)
	req.Key = "2"
	require.ErrorIs(t, submit(req), ErrBusy)
	require.ErrorContains(t, submit(req), first.ID)
	require.ErrorIs(t, submit(Request{Kind: "x", Owner: "me", Name: "n"}), ErrInvalid)
	close(g.free)
	s.finished(first.ID)
	second := s.submit(req)
	require.NotEqual(t, first.ID, second.ID, "the subject is free again")
	s.finished(second.ID)
	s.close()
	s.open()
	req.Key, req.Input = "1", 5
	require.Equal(t, first.ID, s.submit(req).ID, "keys outlive the process")
}

func TestTooManyWait(t *testing.T) {
	g := newGate()
	s := newSite(t, Options{Workers: 1, Waiting: 2}, kind{Name: "k", Steps: []step{g.step()}})
	s.submit(Request{Kind: "k"})
	<-g.began
	s.submit(Request{Kind: "k"})
	s.submit(Request{Kind: "k"})
	_, err := s.engine.Submit(context.Background(), Request{Kind: "k", Owner: "me", Name: "n"})
	require.ErrorIs(t, err, ErrFull)
}

func TestOwnersTakeTurns(t *testing.T) {
	g := newGate()
	s := newSite(t, Options{Workers: 1}, kind{Name: "k", Steps: []step{g.step()}})
	s.submit(Request{Kind: "k", Owner: "z"})
	<-g.began // the only worker is busy while the others come
	names := map[string]string{}
	for _, w := range []string{"a a1", "a a2", "a a3", "b b1", "a a4", "c c1", "b b2"} {
		owner, name, _ := strings.Cut(w, " ")
		names[s.submit(Request{Kind: "k", Owner: owner, Name: name}).ID] = name
	}
	close(g.free)
	var order []string
	for range names {
		order = append(order, names[<-g.began])
	}
	require.Equal(t, []string{"a1", "b1", "c1", "a2", "b2", "a3", "a4"}, order)
}

func TestStopIsNoFailure(t *testing.T) {
	for _, policy := range []Policy{Resume, RollBack} {
		tr, g := &trace{}, newGate()
		var fences []uint64
		put := step{Name: "put", Do: func(ctx context.Context, r *Run) (Commit[tx], error) {
			fences = append(fences, r.Fence())
			return nil, r.Put("x", 7)
		}}
		get := step{Name: "get", Do: func(ctx context.Context, r *Run) (Commit[tx], error) {
			fences = append(fences, r.Fence())
			n := 0
			ok, err := r.Get("x", &n)
			require.True(t, ok && n == 7, "data of a step that is done is kept")
			return nil, err
		}}
		s := newSite(t, Options{}, kind{Name: "k", AtCrash: policy, Steps: []step{tr.step("a", nil), put, g.step(), get}})
		id := s.submit(Request{Kind: "k"}).ID
		<-g.began
		s.close()
		close(g.free)
		s.open()
		i := s.finished(id)
		require.Equal(t, 2, i.Runs)
		if policy == RollBack {
			require.Equal(t, Failed, i.State)
			require.Equal(t, []string{"do a", "undo a"}, tr.get())
		} else {
			require.Equal(t, Completed, i.State)
			require.Equal(t, []string{"do a"}, tr.get())
			require.Greater(t, fences[1], fences[0])
		}
		s.close()
	}
}

func TestKindsThatAreGone(t *testing.T) {
	tr, g := &trace{}, newGate()
	s := newSite(t, Options{}, kind{Name: "k", Steps: []step{tr.step("a", nil), g.step()}})
	id := s.submit(Request{Kind: "k"}).ID
	<-g.began
	s.close()
	s.kinds = []kind{{Name: "other", Steps: []step{tr.step("a", nil)}}}
	s.open()
	i := s.finished(id)
	require.Equal(t, Failed, i.State)
	require.Equal(t, []string{"a"}, i.Failure.Left)
}

func TestStepsInAnotherOrder(t *testing.T) {
	tr, g := &trace{}, newGate()
	s := newSite(t, Options{}, kind{Name: "k", Steps: []step{tr.step("a", nil), g.step(), tr.step("c", nil)}})
	id := s.submit(Request{Kind: "k"}).ID
	<-g.began
	s.close()
	close(g.free)
	s.kinds = []kind{{Name: "k", Steps: []step{g.step(), tr.step("a", nil), tr.step("c", nil)}}}
	s.open()
	i := s.finished(id)
	require.Equal(t, Failed, i.State)
	require.Equal(t, []string{"a"}, i.Failure.Left)
	require.Equal(t, []string{"do a"}, tr.get())
}

// TestFruitlessRuns has the engine end at the same step again and again, as a
// kill ends it: nothing is saved any more.
func TestFruitlessRuns(t *testing.T) {
	tr, g := &trace{}, newGate()
	s := newSite(t, Options{}, kind{Name: "k", Steps: []step{tr.step("a", nil), g.step()}})
	restart := func(killed bool) {
		<-g.began
		s.failing.Store(killed)
		s.close()
		s.failing.Store(false)
		s.open()
	}
	id := s.submit(Request{Kind: "k"}).ID
	for range 2 * maxFruitless {
		restart(false) // a stop in order does not count
	}
	for range maxFruitless - 1 {
		restart(true)
	}
	restart(true)
	i := s.finished(id)
	require.Equal(t, Failed, i.State)
	require.Contains(t, i.Failure.Message, "stopped 5 times while the task was at the same step")
	require.Equal(t, []string{"do a", "undo a"}, tr.get())
}

func TestJournalThatFails(t *testing.T) {
	tr, g := &trace{}, newGate()
	s := newSite(t, Options{}, kind{Name: "k", Steps: []step{g.step(), tr.step("a", nil)}})
	id := s.submit(Request{Kind: "k"}).ID
	<-g.began
	s.failing.Store(true)
	close(g.free)
	i := s.until(id, func(i Info) bool { return i.Halted != "" })
	require.False(t, i.State.Finished(), "nobody is told what is not durable")
	_, err := s.engine.Submit(context.Background(), Request{Kind: "k", Owner: "me", Name: "n"})
	require.ErrorContains(t, err, "disk failed")
	require.Len(t, s.engine.List(), 1)
	s.failing.Store(false)
	s.close()
	s.open()
	require.Equal(t, Completed, s.finished(id).State)
}

func TestFinishedTasksAreForgotten(t *testing.T) {
	s := newSite(t, Options{Keep: 3, Workers: 1}, kind{Name: "k", Steps: []step{{Name: "a", Do: func(context.Context, *Run) (Commit[tx], error) { return nil, nil }}}})
	var ids []string
	for range 5 {
		ids = append(ids, s.submit(Request{Kind: "k", Input: "s3cret"}).ID)
		s.finished(ids[len(ids)-1])
	}
	_, err := s.engine.Get(ids[0], 0)
	require.ErrorIs(t, err, ErrNotFound)
	s.close()
	s.open()
	var left []string
	for _, i := range s.engine.List() {
		left = append(left, i.ID)
	}
	require.Equal(t, ids[2:], left)
	require.NoError(t, s.store.LoadJournal(context.Background(), func(_ string, b []byte) error {
		require.NotContains(t, string(b), "s3cret", "inputs of finished tasks are not kept")
		return nil
	}))
}

func TestLogIsBounded(t *testing.T) {
	var r record
	for range maxLines + 10 {
		r.add(time.Time{}, "s", "x")
	}
	require.Len(t, r.Log, maxLines)
	require.Equal(t, uint64(11), r.Log[0].Number)
	for range 100 {
		r.add(time.Time{}, "s", strings.Repeat("y", 3*maxLineSize)+"\xff")
	}
	size := 0
	for _, l := range r.Log {
		size += len(l.Text)
		require.LessOrEqual(t, len(l.Text), maxLineSize+3)
	}
	require.LessOrEqual(t, size, maxLogSize)
	require.Equal(t, uint64(maxLines+110), r.Lines)
}
