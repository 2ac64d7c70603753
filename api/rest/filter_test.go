package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFilters has all forms that clients are known to write.
func TestFilters(t *testing.T) {
	o := Object{"name": "HPE - x (1)", "state": "Normal", "position": 12, "none": nil, "owner": Object{"uri": "/rest/a/1"}, "kept": json.RawMessage(`{"deep":{"er":true}}`)}
	for text, want := range map[string]bool{
		`name matches 'HPE - x (1)'`:                        true,
		`name matches 'hpe%'`:                               true,
		`name matches 'HPE'`:                                false,
		`name matches '%.%'`:                                false,
		`name matches '%-%X%(%'`:                            true,
		`name matches '%x%-%'`:                              false,
		`name matches 'hpe - x%x (1)'`:                      false,
		`name matches '%'`:                                  true,
		`name matches '%%'`:                                 true,
		`"name='HPE - x (1)'"`:                              true,
		`"'name' = 'HPE - x (1)'"`:                          true,
		`"name" = "HPE - x (1)"`:                            true,
		`'name'='hpe - X (1)'`:                              true,
		`name='x'`:                                          false,
		`name!='x'`:                                         true,
		`name <> 'x' AND state eq Normal`:                   true,
		`state = 'Off' OR state = 'Normal'`:                 true,
		`(state = 'Off' OR state = 'On') AND name like '%'`: false,
		`NOT state = 'Off'`:                                 true,
		`state = 'Off' OR state = 'On' AND name = 'x'`:      false,
		`position >= 12`:                                    true,
		`position < 9`:                                      false,
		`"owner.uri='/rest/a/1'"`:                           true,
		`kept.deep.er = true`:                               true,
		`none = null`:                                       true,
		`none = ''`:                                         true,
		`nothing = 'x'`:                                     false,
		`(name='HPE - x (1)')`:                              true,
	} {
		f, err := parseFilter(text)
		require.NoError(t, err, text)
		require.Equal(t, want, f(t.Context(), o), text)
	}
	for _, bad := range []string{`name`, `name =`, `= 'x'`, `name = 'x`, `name = 'x' y`, `(name = 'x'`, `name = 'x' AND`, `name ~ 'x'`, "name matches '%\xff'", "name = '\xff'",
		strings.Repeat("(", 100) + `a=b`, strings.Repeat("NOT ", 100) + `a=b`, `name = '` + strings.Repeat("x", maxFilter) + `'`} {
		_, err := parseFilter(bad)
		require.Error(t, err, bad)
		require.Equal(t, 400, problem(err).Status, bad)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{`name matches 'x%'`, `"'name' = 'x'"`, `(a=b OR NOT c<>"d") AND e.f ge 3`, `''=''`, `"`, "a like '%\xff'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if f, err := parseFilter(s); err == nil {
			f(t.Context(), Object{"name": "x"})
		}
	})
}

// TestPagesCoverAll follows nextPageUri as clients do.
func TestPagesCoverAll(t *testing.T) {
	var all []Object
	for _, name := range strings.Split("b d a e c", " ") {
		all = append(all, Object{"name": name})
	}
	var got string
	uri := "/rest/x?count=2&filter=" + url.QueryEscape("name <> 'e'")
	for pages := 0; uri != ""; pages++ {
		require.Less(t, pages, 3)
		path, query, _ := strings.Cut(uri, "?")
		q, err := url.ParseQuery(query)
		require.NoError(t, err)
		o, err := selected(t.Context(), all, path, q)
		require.NoError(t, err)
		require.Equal(t, 4, o["total"])
		for _, m := range o["members"].([]Object) {
			got += m["name"].(string)
		}
		uri, _ = o["nextPageUri"].(string)
	}
	require.Equal(t, "abcd", got)
	o, err := selected(t.Context(), all, "/rest/x", url.Values{"start": {"99"}, "count": {"5"}})
	require.NoError(t, err)
	require.Empty(t, o["members"])
	require.NotNil(t, o["members"], "[], not null")
	require.Nil(t, o["nextPageUri"])
	o, err = selected(t.Context(), all, "/rest/x", url.Values{"start": {"1"}, "count": {"9223372036854775807"}})
	require.NoError(t, err)
	require.Equal(t, 4, o["count"])
}

// TestManyWildcards has a filter of as many as fit, on a text of the size that
// plans may have, and one whose client went away.
func TestManyWildcards(t *testing.T) {
	content := strings.Repeat("ab", 1<<19)
	all := []Object{{"name": "plan", "content": content}}
	many := "content matches '" + strings.Repeat("%a", 2000)
	for text, want := range map[string]int{many + "%'": 1, many + "%c'": 0, many + "%aa%'": 0} {
		o, err := selected(t.Context(), all, "/rest/x", url.Values{"filter": {text}})
		require.NoError(t, err)
		require.Equal(t, want, o["total"], text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := selected(ctx, all, "/rest/x", url.Values{"filter": {many + "%'"}})
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, wildcard("%a%")(ctx, content))
}

// TestNoValueIsQuoted sends fields of the wrong type: messages are logged.
func TestNoValueIsQuoted(t *testing.T) {
	const body = `{"password": 12345678, "user": {"password": "12345678"}, "list": ["12345678"], "n": "12345678x", "mp": {"secret": [12345678]}, "on": "12345678", "items": {"value": 12345678}}`
	f, err := ParseFields([]byte(body))
	require.NoError(t, err)
	f.Text("password")
	f.Text("user")
	f.Object("list")
	f.Int("n")
	f.Object("mp").Text("secret")
	f.Bool("on")
	f.Objects("items")
	f.Object("items").Text("value")
	err = f.Err()
	require.NotContains(t, err.Error(), "12345678")
	for _, want := range []string{"password must be a text, not a number", "user must be a text, not an object", "list must be an object, not a list", "n must be a whole number", "mp.secret must be a text, not a list", "on must be true or false, not a text", "items must be a list of objects, not an object", "items.value must be a text"} {
		require.ErrorContains(t, err, want)
	}
}

// TestLoginLogsNoPassword logs in with a password that is no text.
func TestLoginLogsNoPassword(t *testing.T) {
	for _, password := range []string{`12345678`, `{"value": 12345678}`, `["12345678"]`} {
		var log bytes.Buffer
		h := NewHandler(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/rest/login-sessions", strings.NewReader(`{"userName": "u", "password": `+password+`}`)))
		require.Equal(t, 400, w.Code)
		require.Contains(t, log.String(), "password must be a text")
		require.NotContains(t, log.String()+w.Body.String(), "12345678")
	}
}

func TestNoSecretIsKept(t *testing.T) {
	f, err := ParseFields([]byte(`{"a":1,"mp":{"adminPassword":"x","list":[{"chapSecret":"y","user":"u"}]},"passwords":["z"],"pin":{"Passphrase":{"value":1,"more":[true]},"secret":4711},"uri":"/rest/x","big":12345678901234567890}`))
	require.NoError(t, err)
	require.EqualValues(t, 1, f.Int("a"))
	b, err := json.Marshal(f.Extra())
	require.NoError(t, err)
	require.JSONEq(t, `{"mp":{"adminPassword":null,"list":[{"chapSecret":null,"user":"u"}]},"passwords":null,"pin":{"Passphrase":null,"secret":null},"big":12345678901234567890}`, string(b))
	require.Contains(t, string(b), "12345678901234567890")
}
