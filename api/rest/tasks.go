package rest

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"goldstream/lifecycle/model"
	"goldstream/lifecycle/task"
)

const taskPath = "/rest/tasks/"

// TaskID is the ID in the URI of a task.
func TaskID(uri string) string { return strings.TrimPrefix(uri, taskPath) }

func taskRoutes() []Route {
	return []Route{
		{"GET /rest/tasks", listTasks}, {"GET /rest/tasks/{$}", listTasks},
		{"GET /rest/tasks/{id}", getTask},
		{"PUT /rest/tasks/{id}", cancelTask}, {"PATCH /rest/tasks/{id}", cancelTask},
	}
}

// listTasks lists the newest first.
func listTasks(c *Call) error {
	tasks, err := c.Backend.Tasks(c.Context())
	if err != nil {
		return err
	}
	var all []Object
	err = c.view(func(v *View) error {
		for _, i := range tasks {
			all = append(all, taskObject(v, i))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if q := c.URL.Query(); !q.Has("sort") {
		q.Set("sort", "created:desc")
		c.URL.RawQuery = q.Encode()
	}
	return c.List(all)
}

func getTask(c *Call) error {
	i, err := c.Backend.Task(c.Context(), c.PathValue("id"), 0)
	if err != nil {
		return err
	}
	var o Object
	if err := c.view(func(v *View) error { o = taskObject(v, i); return nil }); err != nil {
		return err
	}
	return c.Answer(http.StatusOK, o)
}

// cancelTask has a task undone: the one change that there is.
func cancelTask(c *Call) error {
	if _, err := c.Body(); err != nil {
		return err
	}
	return c.Cancel(c.PathValue("id"))
}

// Cancel has a task undone and answers with it.
func (c *Call) Cancel(id string) error {
	i, err := c.Backend.CancelTask(c.Context(), id)
	if err != nil {
		return err
	}
	return c.Accepted(i)
}

// taskVersions are the names of the type.
func taskVersions() []Version { return []Version{{0, "TaskResourceV2"}, {1000, "TaskResourceV3"}} }

// taskObject is a task as clients poll it.
func taskObject(v *View, i task.Info) Object {
	errs, output := taskErrors(i), []string{}
	done := 0
	for _, s := range i.Steps {
		if s.Done {
			done++
		}
	}
	about := taskAbout(v, i)
	return Object{
		"type": v.TypeOf(taskVersions()), "category": "tasks", "uri": taskPath + i.ID, "id": i.ID,
		"name": taskName(i), "owner": i.Owner, "taskType": "User", "taskState": taskState(i), "taskStatus": taskStatus(i),
		"stateReason": nil, "percentComplete": i.Percent, "computedPercentComplete": i.Percent,
		"completedSteps": done, "totalSteps": len(i.Steps), "expectedDuration": 0,
		"associatedResource": about, "associatedTaskUri": nil, "parentTaskUri": nil,
		"taskErrors": errs, "taskOutput": output, "progressUpdates": progress(i), "data": nil,
		"created": Time(i.Created), "modified": Time(lastChange(i)), "eTag": eTag(i), "userInitiated": true, "hidden": false,
	}
}

// verbs are the names of tasks by what their sentences begin with. Clients look
// for what a task was about unless it is called exactly "Delete".
func verbs() [][2]string {
	return [][2]string{{"create ", "Create"}, {"change ", "Update"}, {"delete ", "Delete"}, {"redeploy ", "Redeploy"}, {"deploy ", "Deploy"}, {"capture ", "Capture"}, {"upload ", "Upload"}}
}

func taskName(i task.Info) string {
	for _, v := range verbs() {
		if strings.HasPrefix(i.Name, v[0]) {
			return v[1]
		}
	}
	return i.Name
}

// taskAbout is the resource that the task works on.
func taskAbout(v *View, i task.Info) any {
	u := model.URI(i.About)
	if u == "" {
		u = captured(i)
	}
	if u.Kind() == "" {
		return nil
	}
	return Object{"resourceUri": string(u), "resourceName": v.Name(u), "resourceCategory": string(u.Kind()), "associationType": "MANAGED_BY"}
}

// captured is the image that a capture has made, which has no record of its own.
func captured(i task.Info) model.URI {
	b, err := json.Marshal(i.Result)
	var made struct{ ID string }
	if i.Kind != "capture" || err != nil || json.Unmarshal(b, &made) != nil || made.ID == "" {
		return ""
	}
	return model.ImageURI(made.ID)
}

func taskState(i task.Info) string {
	switch i.State {
	case task.Undoing:
		return "Stopping"
	case task.Cancelled:
		return "Terminated"
	}
	return string(i.State)
}

func taskStatus(i task.Info) string {
	switch {
	case i.Halted != "":
		return i.Halted
	case i.Failure != nil:
		return i.Failure.Message
	case i.State == task.Completed:
		return i.Name + ": done"
	}
	for _, s := range i.Steps {
		if !s.Done && !s.Started.IsZero() {
			return i.Name + ": " + s.Name
		}
	}
	return i.Name
}

// taskErrors has one at least where the task did not succeed: it is all that some
// clients look at.
func taskErrors(i task.Info) []Object {
	switch {
	case i.Failure != nil:
		p := &Problem{0, "TASK_FAILED", i.Failure.Message, i.Failure.Advice}
		o := p.object()
		if i.Failure.Step != "" {
			o["details"] = "step " + i.Failure.Step
		}
		return []Object{o}
	case i.State == task.Failed:
		return []Object{(&Problem{0, "TASK_FAILED", i.Name + " failed", nil}).object()}
	case i.State == task.Cancelled:
		return []Object{(&Problem{0, "TASK_CANCELLED", i.Name + " was cancelled; what it had done is undone", nil}).object()}
	}
	return []Object{}
}

// scriptLine begins lines that scripts write for the operator.
const scriptLine = "ImageStreamerLog:"

// progress are the steps that were begun, and what scripts wrote for people.
func progress(i task.Info) []Object {
	list := []Object{}
	add := func(text string, at time.Time) {
		list = append(list, Object{"id": len(list) + 1, "statusUpdate": text, "timestamp": Time(at)})
	}
	for _, s := range i.Steps {
		if !s.Started.IsZero() {
			add(s.Name, s.Started)
		}
	}
	for _, l := range i.Log {
		if at := strings.Index(l.Text, scriptLine); at >= 0 {
			// Clients look for JSON objects in it.
			add(strings.NewReplacer("{", "(", "}", ")").Replace(l.Text[at:]), l.Time)
		}
	}
	return list
}

func lastChange(i task.Info) time.Time {
	last := i.Created
	for _, t := range []time.Time{i.Started, i.Ended} {
		if t.After(last) {
			last = t
		}
	}
	return last
}

func eTag(i task.Info) string { return Time(lastChange(i)).(string) + "/" + taskState(i) }
