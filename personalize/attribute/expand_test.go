package attribute

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fixed knows some names of each sort.
func fixed(name, member string) (Value, bool, bool) {
	switch full(name, member) {
	case "Name":
		return NewValue(name, String, "web"), true, true
	case "At":
		return NewValue(name, String, "a@Name@b@@"), true, true
	case "Root":
		return NewValue(name, Password, "s3cret"), true, true
	case "Unset":
		return Value{}, false, true
	case "Hidden":
		return NewValue(name, Password, ""), false, true
	case "NIC1.ipaddress":
		return NewValue(name, NIC, "192.0.2.1"), true, true
	case "NIC1.vlanid":
		return Value{}, false, true
	}
	return Value{}, false, false
}

func TestExpand(t *testing.T) {
	for script, want := range map[string]string{
		"":                               "",
		"echo @Name@":                    "echo web",
		"@Name@@Name@":                   "webweb",
		"# @Name@ in a comment":          "# web in a comment",
		"/dev/@Name:vg@/root":            "/dev/web/root",
		"root@@Name@":                    "root@web",
		"root@@@Name@":                   "root@web",
		"root@@@@Name@":                  "root@@web",
		"user@@example.org":              "user@example.org",
		"user@example.org":               "user@example.org",
		"@@":                             "@",
		"@@@":                            "@@",
		"@@@@":                           "@@",
		"@":                              "@",
		"${arr[@]} ${arr[@]}":            "${arr[@]} ${arr[@]}",
		"@Unset:a (b), c/d.e:f!@ end":    "a (b), c/d.e:f! end",
		"@Unset@.":                       ".",
		"@Unset:@.":                      ".",
		"@NIC1.ipaddress@/24":            "192.0.2.1/24",
		"@NIC1.vlanid:0@":                "0",
		"@NIC1.no@ @NIC1@":               "@NIC1.no@ @NIC1@",
		"@Other@":                        "@Other@",
		"a@b:c d@e @Name@":               "a@b:c d@e web",
		"x@Other@Name@":                  "x@Otherweb",
		"@Name\n@":                       "@Name\n@",
		"@Unset:a\nb@":                   "@Unset:a\nb@",
		"@name@":                         "@name@",
		"@1Name@ @Na-me@ @Name.a.b@ @ @": "@1Name@ @Na-me@ @Name.a.b@ @ @",
		"@At@":                           "a@Name@b@@",
		"echo '@Root@'":                  "echo 's3cret'",
	} {
		e, err := Expand(script, fixed)
		require.NoError(t, err)
		require.Equal(t, want, e.Reveal(), "%q", script)
	}
}

func TestExpansionHidesSecrets(t *testing.T) {
	e, err := Expand("a@@b @Root@@Root@ @Hidden:guess@ @Name@ end", fixed)
	require.NoError(t, err)
	require.Equal(t, "a@b s3crets3cret guess web end", e.Reveal())
	const want = "a@b " + Mask + Mask + " " + Mask + " web end"
	require.Equal(t, want, e.Shown(), "a default of a password is one too")
	for _, shown := range everyWay(e) {
		require.NotContains(t, shown, "s3cret")
		require.NotContains(t, shown, "guess")
	}
	require.Equal(t, "b "+Mask, e.ShownRange(2, 6), "the mask does not tell the length")
	require.Equal(t, Mask, e.ShownRange(5, 7))
	require.True(t, e.SecretIn(5, 7))
	require.False(t, e.SecretIn(0, 4))
	require.False(t, e.SecretIn(len("a@b s3crets3cret guess"), len(e.Reveal())))
}

func TestExpansionKnowsWhereTextComesFrom(t *testing.T) {
	script := "x@@y @Name@ z@Unset@!\nnext @Name@ @Oops@"
	e, err := Expand(script, fixed)
	require.NoError(t, err)
	for _, word := range []string{"y ", " z", "!", "next", "@Oops"} {
		at := strings.Index(e.Reveal(), word)
		require.Equal(t, strings.Index(script, word), e.Source(at), "%q", word)
	}
	require.Equal(t, strings.Index(script, "@Name@"), e.Source(strings.Index(e.Reveal(), "eb")))
	require.Equal(t, 0, e.Source(0))
	require.Len(t, e.Unknown(), 1)
	require.Equal(t, "Oops", e.Unknown()[0].Full())
}

func TestExpandIsBounded(t *testing.T) {
	big := func(string, string) (Value, bool, bool) {
		return NewValue("a", String, strings.Repeat("x", MaxValue)), true, true
	}
	_, err := Expand(strings.Repeat("@a@", 1000), big)
	require.ErrorIs(t, err, ErrInvalid)
}

func TestPlaceholders(t *testing.T) {
	var names []string
	for _, p := range Placeholders("@A@ b@c @NIC.mac@@SSH:Enabled@ @@B@ @A.b:c d@\n@X") {
		names = append(names, p.Full()+"="+p.Default)
	}
	require.Equal(t, []string{"A=", "NIC.mac=", "SSH=Enabled", "B=", "A.b=c d"}, names)
}

// everyWay prints a value in each way that a program may do by accident.
func everyWay(v any) []string {
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "v", v, "in", struct{ V any }{v})
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "v", v)
	encoded, _ := json.Marshal(v)
	private := struct{ v any }{v}
	return []string{
		logged.String(), string(encoded), fmt.Sprint(v), fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v),
		fmt.Sprintf("%v %+v %#v", private, private, private), fmt.Sprintf("%v %+v %#v", []any{v}, &v, &private),
	}
}

func TestValuesAreNotPrinted(t *testing.T) {
	type holder struct {
		v Value
		d Definition
		e Expansion
	}
	e, err := Expand("@Root@", fixed)
	require.NoError(t, err)
	v, d := NewValue("Root", Password, "s3cret"), NewDefinition("Root", Password, "s3cret")
	for _, x := range []any{v, &v, d, &d, []Value{v}, []Definition{d}, holder{v, d, e}, &holder{v, d, e}} {
		for _, shown := range everyWay(x) {
			require.NotContains(t, shown, "s3cret")
			require.NotContains(t, shown, fmt.Sprintf("%x", "s3cret"))
		}
	}
	require.Equal(t, "s3cret", d.Default().Reveal())
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"@Name@", "root@@@Name@", "@Root@x@@", "@Unset:a b@", "@NIC1.vlanid:0@", "x@Other@Name@\n@@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script string) {
		e, err := Expand(script, fixed)
		if err != nil {
			return
		}
		text := e.Reveal()
		if strings.Contains(text, "s3cret") && strings.Count(script, "s3cret") == 0 {
			require.NotContains(t, e.Shown(), "s3cret")
		}
		last := 0
		for i := range len(text) + 1 {
			at := e.Source(i)
			require.True(t, at >= last && at <= len(script), "offsets grow and stay in the script")
			last = at
		}
		require.LessOrEqual(t, strings.Count(text, "\n"), strings.Count(script, "\n"))
		if !strings.Contains(script, "@") {
			require.Equal(t, script, text)
		}
		for _, p := range Placeholders(script) {
			require.Equal(t, byte('@'), script[p.Start])
			require.Equal(t, byte('@'), script[p.End-1])
		}
	})
}
