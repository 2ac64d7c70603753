package task

import (
	"encoding/json"
	"fmt"
	"time"
)

// State of a task.
type State string

// The states.
const (
	Pending   State = "Pending"
	Running   State = "Running"
	Undoing   State = "Undoing"
	Completed State = "Completed"
	Failed    State = "Error"
	Cancelled State = "Cancelled"
)

// Finished tells of states that a task stays in.
func (s State) Finished() bool { return s == Completed || s == Failed || s == Cancelled }

// StepInfo is a step of a task.
type StepInfo struct {
	Name    string    `json:"name"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Done    bool      `json:"done,omitempty"`
	Undone  bool      `json:"undone,omitempty"`
}

// Failure is why a task failed.
type Failure struct {
	Step    string   `json:"step,omitempty"`
	Message string   `json:"message"`
	Advice  []string `json:"recommendedActions,omitempty"`
	// Left are the steps whose effects could not be undone.
	Left []string `json:"notUndone,omitempty"`
}

// Line is a line of a task's log. Numbers grow by one.
type Line struct {
	Number uint64    `json:"number"`
	Time   time.Time `json:"time"`
	Step   string    `json:"step,omitempty"`
	Text   string    `json:"text"`
}

// Info is a task as it is shown.
type Info struct {
	ID       string     `json:"id"`
	Kind     string     `json:"kind"`
	Name     string     `json:"name"` // for people
	Owner    string     `json:"owner"`
	Subject  string     `json:"subject,omitempty"`
	About    string     `json:"about,omitempty"` // URI of what it works on
	State    State      `json:"state"`
	Percent  int        `json:"percent"` // 100 once it is finished
	Steps    []StepInfo `json:"steps"`
	Failure  *Failure   `json:"failure,omitempty"`
	Result   any        `json:"result,omitempty"`
	Cancel   bool       `json:"cancelRequested,omitempty"`
	Created  time.Time  `json:"created"`
	Started  time.Time  `json:"started,omitzero"`
	Ended    time.Time  `json:"ended,omitzero"`
	Runs     int        `json:"runs"` // starts, with those after a stop or kill
	Left     string     `json:"timeLeft,omitempty"`
	Revision uint64     `json:"revision"` // grows with each change, until the engine is opened again
	Log      []Line     `json:"log,omitempty"`
	// Halted tells that the journal cannot be written: the task stands still
	// until the engine is opened again.
	Halted string `json:"halted,omitempty"`
}

// record is a task in the journal, as JSON.
type record struct {
	ID      string                     `json:"id"`
	Order   uint64                     `json:"order"` // of submission
	Kind    string                     `json:"kind"`
	Name    string                     `json:"name"`
	Owner   string                     `json:"owner"`
	Subject string                     `json:"subject,omitempty"`
	About   string                     `json:"about,omitempty"`
	Key     string                     `json:"key,omitempty"`
	Digest  string                     `json:"digest,omitempty"` // of what Key was used for
	Input   json.RawMessage            `json:"input,omitempty"`  // until it is finished, as Data
	Data    map[string]json.RawMessage `json:"data,omitempty"`
	Result  json.RawMessage            `json:"result,omitempty"`
	State   State                      `json:"state"`
	Steps   []StepInfo                 `json:"steps"`
	Failure *Failure                   `json:"failure,omitempty"`
	Cancel  bool                       `json:"cancel,omitempty"`
	Created time.Time                  `json:"created"`
	Started time.Time                  `json:"started,omitzero"`
	Ended   time.Time                  `json:"ended,omitzero"`
	Runs    int                        `json:"runs"`
	// Fruitless counts the runs since a step was done, but for those that a stop
	// of the engine ended.
	Fruitless int           `json:"fruitless,omitempty"`
	Fence     uint64        `json:"fence"`
	Limited   bool          `json:"limited,omitempty"` // has a deadline
	Left      time.Duration `json:"left,omitempty"`    // ns, of the deadline
	Log       []Line        `json:"log,omitempty"`
	Lines     uint64        `json:"lines"` // logged ever
	logSize   int           // of Log, in bytes; 0: not known
}

// counters are the record of the engine itself, under the ID "".
type counters struct {
	Order uint64 `json:"order"`
	Fence uint64 `json:"fence"`
}

func decode(id string, b []byte) (record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil || r.ID != id {
		return r, fmt.Errorf("task %q in the journal cannot be read: restore it from a backup: %w", id, err)
	}
	return r, nil
}
