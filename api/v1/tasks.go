package v1

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"goldstream/lifecycle/task"
)

// TaskBackend is the part of a Backend that knows work that takes time.
type TaskBackend interface {
	Tasks(ctx context.Context) ([]task.Info, error)
	// Task returns a task with the lines of its log behind a number.
	Task(ctx context.Context, id string, behind uint64) (task.Info, error)
	// WaitTask does the same once the task has another revision.
	WaitTask(ctx context.Context, id string, revision, behind uint64) (task.Info, error)
	CancelTask(ctx context.Context, id string) (task.Info, error)
}

// taskPatience bounds how long a request waits for a change; clients ask again.
const taskPatience = 30 * time.Second

// TaskList answers GET /v1/tasks.
type TaskList struct {
	Tasks []task.Info `json:"tasks"`
}

func (s *server) routeTasks(mux *router) {
	mux.HandleFunc("GET /v1/tasks", s.answer(s.listTasks))
	mux.HandleFunc("GET /v1/tasks/{id}", s.answer(s.showTask, "behind", "revision"))
	mux.HandleFunc("POST /v1/tasks/{id}/cancel", s.answer(s.cancelTask))
}

func (s *server) listTasks(_ http.ResponseWriter, r *http.Request) (any, error) {
	tasks, err := s.backend.Tasks(r.Context())
	return TaskList{Tasks: orEmpty(tasks)}, err
}

// showTask waits for a change where the client says which revision it knows.
func (s *server) showTask(_ http.ResponseWriter, r *http.Request) (any, error) {
	behind, err := number(r, "behind")
	if err != nil {
		return nil, err
	}
	if !r.URL.Query().Has("revision") {
		return s.backend.Task(r.Context(), r.PathValue("id"), behind)
	}
	revision, err := number(r, "revision")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), taskPatience)
	defer cancel()
	info, err := s.backend.WaitTask(ctx, r.PathValue("id"), revision, behind)
	if errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil {
		return s.backend.Task(r.Context(), r.PathValue("id"), behind)
	}
	return info, err
}

func number(r *http.Request, name string) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, invalid(fmt.Sprintf("%s=%.64s is no number", name, text))
	}
	return n, nil
}

func (s *server) cancelTask(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.backend.CancelTask(r.Context(), r.PathValue("id"))
}

// Tasks lists the tasks that are kept, the oldest first.
func (c *Client) Tasks(ctx context.Context) ([]task.Info, error) {
	var l TaskList
	err := c.call(ctx, http.MethodGet, "/v1/tasks", nil, &l)
	return l.Tasks, err
}

// Task returns a task with the lines of its log behind a number.
func (c *Client) Task(ctx context.Context, id string, behind uint64) (t task.Info, err error) {
	err = c.call(ctx, http.MethodGet, fmt.Sprintf("/v1/tasks/%s?behind=%d", url.PathEscape(id), behind), nil, &t)
	return t, err
}

// WaitTask returns once the task has another revision, or after a while.
func (c *Client) WaitTask(ctx context.Context, id string, revision, behind uint64) (t task.Info, err error) {
	err = c.call(ctx, http.MethodGet, fmt.Sprintf("/v1/tasks/%s?behind=%d&revision=%d", url.PathEscape(id), behind, revision), nil, &t)
	return t, err
}

// CancelTask has a task undone.
func (c *Client) CancelTask(ctx context.Context, id string) (t task.Info, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/tasks/"+url.PathEscape(id)+"/cancel", nil, &t)
	return t, err
}
