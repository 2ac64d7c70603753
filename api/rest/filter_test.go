package rest

import (
	"encoding/json"
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
		require.Equal(t, want, f(o), text)
	}
	for _, bad := range []string{`name`, `name =`, `= 'x'`, `name = 'x`, `name = 'x' y`, `(name = 'x'`, `name = 'x' AND`, `name ~ 'x'`,
		strings.Repeat("(", 100) + `a=b`, strings.Repeat("NOT ", 100) + `a=b`, `name = '` + strings.Repeat("x", maxFilter) + `'`} {
		_, err := parseFilter(bad)
		require.Error(t, err, bad)
		require.Equal(t, 400, problem(err).Status, bad)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{`name matches 'x%'`, `"'name' = 'x'"`, `(a=b OR NOT c<>"d") AND e.f ge 3`, `''=''`, `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if f, err := parseFilter(s); err == nil {
			f(Object{"name": "x"})
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
		o, err := selected(all, path, q)
		require.NoError(t, err)
		require.Equal(t, 4, o["total"])
		for _, m := range o["members"].([]Object) {
			got += m["name"].(string)
		}
		uri, _ = o["nextPageUri"].(string)
	}
	require.Equal(t, "abcd", got)
	o, err := selected(all, "/rest/x", url.Values{"start": {"99"}, "count": {"5"}})
	require.NoError(t, err)
	require.Empty(t, o["members"])
	require.NotNil(t, o["members"], "[], not null")
	require.Nil(t, o["nextPageUri"])
}

func TestNoSecretIsKept(t *testing.T) {
	f, err := ParseFields([]byte(`{"a":1,"mp":{"adminPassword":"x","list":[{"chapSecret":"y","user":"u"}]},"passwords":["z"],"uri":"/rest/x","big":12345678901234567890}`))
	require.NoError(t, err)
	require.EqualValues(t, 1, f.Int("a"))
	b, err := json.Marshal(f.Extra())
	require.NoError(t, err)
	require.JSONEq(t, `{"mp":{"adminPassword":null,"list":[{"chapSecret":null,"user":"u"}]},"passwords":[null],"big":12345678901234567890}`, string(b))
	require.Contains(t, string(b), "12345678901234567890")
}
