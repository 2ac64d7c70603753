package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"goldstream/lifecycle/task"
)

// Limits of requests.
const (
	maxBody      = 8 << 20  // bytes of JSON: a script of 1 MiB may take six times that
	openBody     = 64 << 10 // of whoever is not known yet
	bodyTimeout  = 30 * time.Second
	writeTimeout = time.Minute // to take one piece of an answer
	// taskPatience is how long an answer waits for its task: clients that find it
	// finished at once need not poll, which some do every ten seconds.
	taskPatience = 2 * time.Second
)

// Call is a request under way.
type Call struct {
	*http.Request
	W       http.ResponseWriter
	Backend Backend
	Gate    Gate
	Version int // of the API, as the client says
	Who     string
	limit   int64  // bytes of a body
	body    []byte // as far as it was read
}

// Route is a method and a path, as http.ServeMux reads them, and what is done.
type Route struct {
	Pattern string
	Do      func(*Call) error
}

// On is a route.
func On(pattern string, do func(*Call) error) Route { return Route{pattern, do} }

// confirmLoss is the value of ?confirm= that lets a volume be lost of a server
// that may run. It is not ?force=, which clients send with other meanings.
const confirmLoss = "volume-loss"

// how0 is what the request says of how to change something, as far as it can be
// read.
func (c *Call) how0() How {
	h := How{Who: c.Who, RequestID: c.Header.Get("Idempotency-Key")}
	h.ETag = strings.Trim(strings.TrimPrefix(c.Header.Get("If-Match"), "W/"), `"`)
	q := c.URL.Query()
	h.DryRun, h.Confirmed = q.Get("dryRun") == "true", q.Get("confirm") == confirmLoss
	if h.RequestID != "" && !c.IsUpload() {
		h.Sent = fmt.Appendf(nil, "%s %q %q\n%s", c.Method, c.URL.RequestURI(), c.Header.Get("If-Match"), c.body)
	}
	return h
}

func (c *Call) how() (How, error) {
	q := c.URL.Query()
	if v := q.Get("dryRun"); v != "" && v != "true" && v != "false" {
		return How{}, Bad("dryRun=%.64s: write true or false", v)
	}
	if v := q.Get("confirm"); v != "" && v != confirmLoss {
		return How{}, Bad("confirm=%.64s: the only thing to confirm is %s", v, confirmLoss)
	}
	return c.how0(), nil
}

// How is what a request says of how to change something.
func (c *Call) How() (How, error) { return c.how() }

// HowAtOnce is How for what cannot be tried first: a dry run is refused, for it would
// be done.
func (c *Call) HowAtOnce() (How, error) {
	how, err := c.how()
	if err == nil && how.DryRun {
		err = Bad("dryRun=true: %s %s has no dry run; nothing was done", c.Method, c.URL.Path)
	}
	return how, err
}

// change reads a body, and how something is to become it. An eTag in the body
// counts where there is no If-Match.
func (c *Call) change() (*Fields, How, error) {
	f, err := c.Fields()
	if err != nil {
		return nil, How{}, err
	}
	how, err := c.how()
	if how.ETag == "" {
		how.ETag = f.Text("eTag")
	}
	if err == nil {
		err = f.Err()
	}
	return f, how, err
}

// Body reads a body that is no stream.
func (c *Call) Body() ([]byte, error) {
	rc := http.NewResponseController(c.W)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	defer rc.SetReadDeadline(time.Time{}) // the server reads on, to notice that the client went away
	b, err := io.ReadAll(http.MaxBytesReader(c.W, c.Request.Body, c.limit))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, &Problem{http.StatusRequestEntityTooLarge, "TOO_LARGE", fmt.Sprintf("the body has more than %d KiB", c.limit>>10), []string{"Send less at once."}}
	}
	c.body = b
	return b, err
}

// Fields reads a body that is a JSON object.
func (c *Call) Fields() (*Fields, error) {
	b, err := c.Body()
	if err != nil {
		return nil, err
	}
	return ParseFields(b)
}

// Answer writes a JSON body, and its eTag into the header too.
func (c *Call) Answer(status int, o Object) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	h := c.W.Header()
	if tag, ok := o["eTag"].(string); ok && tag != "" {
		h.Set("ETag", `"`+tag+`"`)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	_ = http.NewResponseController(c.W).SetWriteDeadline(time.Now().Add(writeTimeout))
	c.W.WriteHeader(status)
	_, _ = c.W.Write(b) // the client is gone: nobody to tell
	return nil
}

// List answers with the part of a collection that was asked for.
func (c *Call) List(all []Object) error {
	o, err := selected(c.Context(), all, strings.TrimSuffix(c.URL.Path, "/"), c.URL.Query())
	if err != nil {
		return err
	}
	return c.Answer(http.StatusOK, o)
}

// Accepted answers with a task: its URI in the header, and all of it. It waits a
// little for the task to end.
func (c *Call) Accepted(i task.Info) error {
	if !i.State.Finished() {
		ctx, cancel := context.WithTimeout(c.Context(), taskPatience)
		defer cancel()
		for err := error(nil); err == nil && !i.State.Finished(); {
			var next task.Info
			if next, err = c.Backend.WaitTask(ctx, i.ID, i.Revision, 0); err == nil {
				i = next
			}
		}
	}
	var o Object
	err := c.view(func(v *View) error {
		o = taskObject(v, i)
		return nil
	})
	if err != nil {
		return err
	}
	c.W.Header().Set("Location", taskPath+i.ID)
	return c.Answer(http.StatusAccepted, o)
}
