// Package transcript plays what the clients of an HTTP API send, from a file, and
// compares what they get. It is for tests.
//
// # Format
//
// A transcript is a list of exchanges with an empty line between them. Lines
// that begin with # are comments. An exchange is
//
//	POST /rest/plan-scripts          what is sent: method and path,
//	X-API-Version: 600               headers,
//	{"name": "x"}                    and a body, if there is one
//	==> 201                          what must come: the status,
//	Location: /rest/plan-scripts/*   headers, where * stands for anything,
//	{"uri": "$script"}               and what must be in the body
//
// Headers that stand behind "defaults" at the beginning go with all requests.
// Before a method, "until" has the request repeated until the answer is right.
//
// A body that must come is JSON, of which objects may have more fields. The
// text "*" stands for any value but null and "", and "$name" for a value that has
// the name from then on: it stands for itself further down, in all that is sent
// too. A header can name what is in it: Location: $task.
package transcript

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long "until" repeats a request.
const patience = time.Minute

// Player sends requests.
type Player struct {
	Client *http.Client
	Base   string            // URL before paths
	Names  map[string]string // what $name stands for; filled in
}

type exchange struct {
	line           int
	until          bool
	method, path   string
	headers        []string
	body           string
	status         int
	wantHeaders    []string
	want           string
	defaultHeaders []string
}

// Play plays a file.
func (p *Player) Play(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	if p.Names == nil {
		p.Names = map[string]string{}
	}
	for _, x := range parse(t, file, string(b)) {
		p.exchange(t, file, x)
	}
}

func parse(t *testing.T, file, text string) (list []exchange) {
	var defaults []string
	line := 1
	for _, block := range strings.Split(text, "\n\n") {
		at := line
		line += strings.Count(block, "\n") + 2
		var rows []string
		for _, row := range strings.Split(block, "\n") {
			if !strings.HasPrefix(row, "#") && (row != "" || len(rows) > 0) {
				rows = append(rows, row)
			}
		}
		if len(rows) == 0 {
			continue
		}
		if rows[0] == "defaults" {
			defaults = rows[1:]
			continue
		}
		x := parseExchange(t, fmt.Sprintf("%s:%d", file, at), rows)
		x.line, x.defaultHeaders = at, defaults
		list = append(list, x)
	}
	return list
}

var headerForm = regexp.MustCompile(`^[A-Za-z-]+: `)

func parseExchange(t *testing.T, where string, rows []string) (x exchange) {
	first, until := strings.CutPrefix(rows[0], "until ")
	x.until = until
	var ok bool
	x.method, x.path, ok = strings.Cut(first, " ")
	require.True(t, ok, "%s: no method and path: %s", where, first)
	headers, body := &x.headers, &x.body
	for _, row := range rows[1:] {
		if status, is := strings.CutPrefix(row, "==> "); is {
			n, err := strconv.Atoi(status)
			require.NoError(t, err, where)
			x.status, headers, body = n, &x.wantHeaders, &x.want
			continue
		}
		if *body == "" && headerForm.MatchString(row) {
			*headers = append(*headers, row)
			continue
		}
		*body += row + "\n"
	}
	require.NotZero(t, x.status, "%s: nothing must come", where)
	return x
}

func (p *Player) exchange(t *testing.T, file string, x exchange) {
	where := fmt.Sprintf("%s:%d: %s %s", file, x.line, x.method, p.fill(x.path))
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		problem := p.try(t, where, x)
		if problem == "" {
			return
		}
		if !x.until || time.Now().After(deadline) {
			require.FailNow(t, where+": "+problem)
		}
	}
}

func (p *Player) try(t *testing.T, where string, x exchange) string {
	req, err := http.NewRequestWithContext(t.Context(), x.method, p.Base+p.fill(x.path), strings.NewReader(p.fill(x.body)))
	require.NoError(t, err, where)
	for _, h := range append(append([]string{}, x.defaultHeaders...), x.headers...) {
		key, value, _ := strings.Cut(h, ": ")
		req.Header.Set(key, p.fill(value))
	}
	resp, err := p.Client.Do(req)
	require.NoError(t, err, where)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err, where)
	if resp.StatusCode != x.status {
		return fmt.Sprintf("status %d, not %d: %s", resp.StatusCode, x.status, body)
	}
	for _, h := range x.wantHeaders {
		key, want, _ := strings.Cut(h, ": ")
		if problem := p.matchText(key, want, resp.Header.Get(key)); problem != "" {
			return problem
		}
	}
	if strings.TrimSpace(x.want) == "" {
		return ""
	}
	var want, have any
	require.NoError(t, decode([]byte(p.fill(x.want)), &want), "%s: what must come: %s", where, x.want)
	if err := decode(body, &have); err != nil {
		return fmt.Sprintf("no JSON: %s", body)
	}
	if problem := p.match("", want, have); problem != "" {
		return problem + "\nin " + string(body)
	}
	return ""
}

func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(v)
}

var nameForm = regexp.MustCompile(`\$[a-z][a-zA-Z0-9]*`)

// fill puts in what is known of names.
func (p *Player) fill(s string) string {
	return nameForm.ReplaceAllStringFunc(s, func(name string) string {
		if value, ok := p.Names[name[1:]]; ok {
			return value
		}
		return name
	})
}

func (p *Player) matchText(at, want, have string) string {
	switch {
	case want == "*" && have != "":
		return ""
	case nameForm.FindString(want) == want && p.fill(want) == want && want != "":
		if have == "" {
			return at + " is empty"
		}
		p.Names[want[1:]] = have
		return ""
	}
	form := strings.ReplaceAll(regexp.QuoteMeta(p.fill(want)), `\*`, `.*`)
	if !regexp.MustCompile(`(?s)^` + form + `$`).MatchString(have) {
		return fmt.Sprintf("%s is %q, not %q", at, have, p.fill(want))
	}
	return ""
}

// match says what of have is not as want, or nothing.
func (p *Player) match(at string, want, have any) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := have.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is no object: %v", at, have)
		}
		for key, w := range want {
			h, ok := object[key]
			if !ok {
				return at + "." + key + " is missing"
			}
			if problem := p.match(at+"."+key, w, h); problem != "" {
				return problem
			}
		}
	case []any:
		list, ok := have.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%s has not %d members: %v", at, len(want), have)
		}
		for i, w := range want {
			if problem := p.match(fmt.Sprintf("%s[%d]", at, i), w, list[i]); problem != "" {
				return problem
			}
		}
	case string:
		if want == "*" && have != nil && have != "" {
			return ""
		}
		text, ok := have.(string)
		if !ok {
			return fmt.Sprintf("%s is no text: %v", at, have)
		}
		return p.matchText(at, want, text)
	default:
		if fmt.Sprint(want) != fmt.Sprint(have) || (want == nil) != (have == nil) {
			return fmt.Sprintf("%s is %v, not %v", at, have, want)
		}
	}
	return ""
}
