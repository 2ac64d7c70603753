package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/lifecycle/task"
)

func taskCommands() []*cli.Command {
	return commands([]verb{
		{
			name: "list", usage: "list the tasks that are kept, the oldest first",
			examples: []string{"goldstream task list"},
			action:   listTasks,
		},
		{
			name: "show", args: "ID", usage: "show one task with its log",
			examples: []string{"goldstream task show 2XTZ6ZUO6FHPFAE7LHF4CV2VEH"},
			action:   showTask, complete: names{taskIDs},
		},
		{
			name: "watch", args: "ID", usage: "follow the log of a task until it is finished; with --json, one document for each change",
			examples: []string{"goldstream task watch 2XTZ6ZUO6FHPFAE7LHF4CV2VEH"},
			action:   watchTask, complete: names{taskIDs},
		},
		{
			name: "cancel", args: "ID", usage: "have a task undone",
			examples: []string{"goldstream task cancel 2XTZ6ZUO6FHPFAE7LHF4CV2VEH"},
			action:   cancelTask, complete: names{taskIDs},
		},
	})
}

func taskIDs(c *call) []string {
	return daemonNames(c, (*v1.Client).Tasks, func(t task.Info) string { return t.ID })
}

func listTasks(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		tasks, err := client.Tasks(c.ctx)
		if err != nil {
			return err
		}
		return c.print(tasks, func(w io.Writer) {
			fmt.Fprintln(w, "ID\tNAME\tSTATE\tPERCENT\tOWNER\tCREATED")
			for _, t := range tasks {
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", t.ID, t.Name, t.State, t.Percent, t.Owner, localTime(t.Created))
			}
		})
	})
}

func showTask(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		t, err := client.Task(c.ctx, c.arg(0), 0)
		if err != nil {
			return err
		}
		return c.printTask(t)
	})
}

func (c *call) printTask(t task.Info) error {
	return c.print(t, func(w io.Writer) {
		fields(w, [][2]string{
			{"task", t.ID}, {"name", t.Name}, {"state", string(t.State)}, {"percent", fmt.Sprint(t.Percent)},
			{"owner", t.Owner}, {"created", localTime(t.Created)}, {"runs", fmt.Sprint(t.Runs)}, {"halted", t.Halted},
		})
		for _, s := range t.Steps {
			fmt.Fprintf(w, "step\t%s\t%s\n", s.Name, stepState(s))
		}
		for _, l := range t.Log {
			fmt.Fprintf(w, "%s\n", logLine(l))
		}
		for _, line := range failureLines(t.Failure) {
			fmt.Fprintln(w, line)
		}
	})
}

func stepState(s task.StepInfo) string {
	switch {
	case s.Undone:
		return "undone"
	case s.Done:
		return "done"
	case !s.Started.IsZero():
		return "begun"
	}
	return "-"
}

func logLine(l task.Line) string {
	return l.Time.Local().Format("15:04:05.000") + " " + strings.TrimSpace(l.Step+": "+l.Text)
}

func failureLines(f *task.Failure) []string {
	if f == nil {
		return nil
	}
	lines := []string{"FAILED: " + f.Message}
	if f.Step != "" {
		lines[0] = "FAILED at " + f.Step + ": " + f.Message
	}
	for _, a := range f.Advice {
		lines = append(lines, "  "+a)
	}
	if len(f.Left) > 0 {
		lines = append(lines, "  not undone: "+strings.Join(f.Left, ", "))
	}
	return lines
}

func watchTask(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		t, err := client.Task(c.ctx, c.arg(0), 0)
		if err != nil {
			return err
		}
		if t, err = c.follow(c.ctx, client, t, true); err != nil {
			return err
		}
		return taskError(t)
	})
}

// follow waits until a task is finished, and shows its log meanwhile.
func (c *call) follow(ctx context.Context, client *v1.Client, t task.Info, show bool) (task.Info, error) {
	seen := uint64(0)
	for {
		if show {
			c.showLog(t)
		}
		if n := len(t.Log); n > 0 {
			seen = t.Log[n-1].Number
		}
		if t.State.Finished() || t.Halted != "" {
			return t, nil
		}
		var err error
		if t, err = client.WaitTask(ctx, t.ID, t.Revision, seen); err != nil {
			return t, err
		}
	}
}

func (c *call) showLog(t task.Info) {
	if c.Bool("json") {
		_ = json.NewEncoder(c.out).Encode(t) // nobody to tell
		return
	}
	for _, l := range t.Log {
		fmt.Fprintln(c.out, logLine(l))
	}
}

// taskError is the error of a task that did not succeed.
func taskError(t task.Info) error {
	e := &v1.Error{Code: v1.CodeFailed, Advice: fmt.Sprintf("'goldstream task show %s' shows its log.", t.ID)}
	switch {
	case t.State == task.Completed:
		return nil
	case t.Halted != "":
		e.Message = fmt.Sprintf("task %s stands still: %s", t.ID, t.Halted)
	case t.State == task.Cancelled:
		e.Code, e.Message = v1.CodeCancelled, fmt.Sprintf("task %s was cancelled; nothing of it is left", t.ID)
	default:
		lines := failureLines(t.Failure)
		e.Message = strings.TrimPrefix(lines[0], "FAILED ")
		e.Message = "the task failed " + strings.TrimPrefix(e.Message, "FAILED: ")
		if len(lines) > 1 {
			e.Advice = strings.TrimSpace(strings.Join(lines[1:], " "))
		}
	}
	return e
}

func cancelTask(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		t, err := client.CancelTask(c.ctx, c.arg(0))
		if err != nil {
			return err
		}
		return c.printTask(t)
	})
}
