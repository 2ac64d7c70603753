package attribute

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func define(t *testing.T, name string, kind Type, text, constraints string) Definition {
	t.Helper()
	d := NewDefinition(name, kind, text)
	var err error
	d.Constraints, err = ParseConstraints(constraints)
	require.NoError(t, err)
	return d
}

func TestNormal(t *testing.T) {
	for _, row := range []struct {
		kind              Type
		constraints, text string
		want              string // or part of the error, behind "!"
	}{
		{String, `{}`, " as it is ", " as it is "},
		{String, `{"regex":"[a-z]+"}`, "abc", "abc"},
		{String, `{"regex":"[a-z]+","helpText":"small letters"}`, "abc1", "!does not match [a-z]+ (small letters)"},
		{String, `{"regex":"a|b"}`, "xb", "!does not match"},
		{String, `{}`, "a\nb", "!control character U+000A"},
		{String, `{"multiline":"true"}`, "a\nb", "a\nb"},
		{String, `{"multiline":true}`, "a\x00b", "!control character U+0000"},
		{String, `{}`, "\xff", "!UTF-8"},
		{Number, `{}`, "010", "10"},
		{Number, `{}`, "1.50", "1.5"},
		{Number, `{}`, "ten", "!no decimal number"},
		{Number, `{}`, "1e9", "!no decimal number"},
		{Number, `{}`, "1/3", "!no decimal number"},
		{Number, `{}`, "Inf", "!no decimal number"},
		{Number, `{"minimum":"1","maximum":"4"}`, "4", "4"},
		{Number, `{"minimum":1,"maximum":4}`, "5", "!the maximum is 4"},
		{Number, `{"minimum":"1"}`, "0.99", "!the minimum is 1"},
		{Number, `{"minimum":"1","increment":"0.1"}`, "1.3", "1.3"},
		{Number, `{"minimum":"1","increment":"0.1"}`, "1.35", "!multiple of 0.1"},
		{Option, `{"options":["Enabled","Disabled"]}`, "enabled", "Enabled"},
		{Option, `{"options":["Enabled","Disabled"]}`, "on", "!one of Enabled, Disabled"},
		{Option, `{"options":["a","A"]}`, "A", "A"},
		{Option, `{"options":[1,true]}`, "1", "1"},
		{Password, `{"minlen":"6"}`, "short", "!at least 6 characters"},
		{Password, `{"maxlen":"6"}`, "päßwör", "päßwör"},
		{Password, `{"maxlen":"5"}`, "päßwör", "!at most 5 characters"},
		{Password, `{"allowedchars":"[a-z]"}`, "abc", "abc"},
		{Password, `{"allowedchars":"[a-z]"}`, "abC", "!only the characters [a-z]"},
		{Password, `{"allowedchars":"ab-"}`, "a-b", "a-b"},
		{Password, `{"allowedchars":"a-c"}`, "b", "!only the characters a-c"},
		{IPv4, `{}`, " 192.0.2.1 ", "192.0.2.1"},
		{IPv4, `{}`, "192.0.2.256", "!no IPv4 address"},
		{IPv4, `{}`, "192.0.2.01", "!no IPv4 address"},
		{IPv4, `{}`, "2001:db8::1", "!no IPv4 address"},
		{Hostname, `{}`, "web-1", "web-1"},
		{Hostname, `{}`, "{profile}", "{profile}"},
		{Hostname, `{}`, "-web", "!no host name"},
		{Hostname, `{}`, "we_b", "!no host name"},
		{Hostname, `{}`, strings.Repeat("a", 64), "!no host name"},
		{FQDN, `{}`, "web.example.org", "web.example.org"},
		{FQDN, `{}`, "web..example", "!no host name"},
	} {
		got, err := define(t, "A", row.kind, "", row.constraints).Normal(row.text)
		if want, bad := strings.CutPrefix(row.want, "!"); bad {
			require.ErrorContains(t, err, want, "%s %q", row.kind, row.text)
			require.ErrorContains(t, err, `"A"`)
			require.ErrorIs(t, err, ErrInvalid)
			if row.kind == Password && len(row.text) > 1 {
				require.NotContains(t, err.Error(), row.text)
			}
			continue
		}
		require.NoError(t, err, "%s %q", row.kind, row.text)
		require.Equal(t, row.want, got)
	}
}

func TestDefinitionCheck(t *testing.T) {
	require.NoError(t, define(t, "A", Option, "x", `{"options":["x"],"other":[{}]}`).Check())
	for want, d := range map[string]Definition{
		"belong to the system":  define(t, "_A", String, "", ""),
		"no name":               define(t, "A-B", String, "", ""),
		"unknown type":          define(t, "A", "text", "", ""),
		"needs \"options\"":     define(t, "A", Option, "", ""),
		"cannot be used":        define(t, "A", String, "", `{"regex":"(?=x)"}`),
		"no length":             define(t, "A", Password, "", `{"minlen":"x"}`),
		"no class":              define(t, "A", Password, "", `{"allowedchars":"[a-"}`),
		`"minimum" is "x"`:      define(t, "A", Number, "", `{"minimum":"x"}`),
		"default: attribute":    define(t, "A", Number, "x", ""),
		"value of the wrong ki": define(t, "A", Option, "", `{"options":"x"}`),
	} {
		require.ErrorContains(t, d.Check(), want)
	}
	_, err := ParseConstraints("[]")
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, CheckDefinitions("p", []Definition{define(t, "A", String, "", ""), define(t, "A", String, "", "")}), "twice")
}

func TestDefinitionEncoding(t *testing.T) {
	in := `{"name":"A","type":"number","value":5,"constraints":{"unit":"GiB","odd":[1]},"description":"d"}`
	var d Definition
	require.NoError(t, json.Unmarshal([]byte(in), &d))
	require.Equal(t, "5", d.Default().Reveal())
	out, err := json.Marshal(d)
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"A","type":"number","value":"5","constraints":"{\"unit\":\"GiB\",\"odd\":[1]}","description":"d"}`, string(out))
	var again Definition
	require.NoError(t, json.Unmarshal(out, &again))
	require.Equal(t, d, again)
	require.Error(t, json.Unmarshal([]byte(`{"name":"A","value":[1]}`), &d))
}

func text(r *Values, name string) string {
	e, err := Expand(name, r.Lookup)
	if err != nil {
		panic(err)
	}
	return e.Reveal()
}

func TestPrecedence(t *testing.T) {
	in := Inputs{
		Definitions: []Definition{define(t, "A", String, "build", ""), define(t, "B", String, "build", ""), define(t, "C", String, "build", ""), define(t, "D", String, "", ""), define(t, "H", Hostname, "", "")},
		Plan:        []Value{NewValue("B", "", "plan"), NewValue("C", "", "plan")},
		Profile:     []Value{NewValue("C", "", "profile"), NewValue("H", "", "{profile}-os"), NewValue("_Initiator1.ip", "", "forged")},
		System:      map[string]string{"_Initiator1.ip": "192.0.2.9", "VolumeSize": "10240"},
		ProfileName: "web-1",
	}
	r, err := Resolve(in)
	require.NoError(t, err)
	require.Equal(t, "build plan profile script web-1-os", text(r, "@A:script@ @B@ @C@ @D:script@ @H@"))
	require.Equal(t, "192.0.2.9 10240 10240 <>", text(r, "@_Initiator1.ip@ @VolumeSize@ @volumesize@ <@_Initiator2.mac@>"))
	in.Fixed = []string{"C"}
	_, err = Resolve(in)
	require.ErrorContains(t, err, `"C" cannot be changed`)
	in.Profile[0] = NewValue("C", "", "plan")
	_, err = Resolve(in)
	require.NoError(t, err, "the same value changes nothing")
}

func TestResolveNamesAllThatIsWrong(t *testing.T) {
	_, err := Resolve(Inputs{
		Definitions: []Definition{define(t, "Port", Number, "", `{"maximum":"9"}`), define(t, "Root", Password, "", `{"minlen":"8"}`), define(t, "NIC1", NIC, "", "")},
		Profile:     []Value{NewValue("port", "", "1"), NewValue("Port", "", "70000"), NewValue("Root", "", "geheim"), NewValue("NIC1", "", "x"), NewValue("Port.x", "", "1")},
	})
	require.ErrorIs(t, err, ErrInvalid)
	for _, part := range []string{`"port", which the build plan does not declare (it declares Port)`, `"70000": the maximum is 9`, "at least 8", "give its members, such as NIC1.ipaddress", "write Port alone"} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), "geheim")
}

func TestPasswordsThatAreWithheld(t *testing.T) {
	r, err := Resolve(Inputs{
		Definitions: []Definition{define(t, "Root", Password, "s3cret-1", "")},
		Plan:        []Value{NewValue("Root", Password, "s3cret-2")}, Profile: []Value{NewValue("Root", "", Mask)},
	})
	require.NoError(t, err)
	require.Equal(t, "s3cret-2", text(r, "@Root@"), "a mask is no value")
	require.Equal(t, []string{"s3cret-2"}, r.Secrets())
	require.True(t, r.All()[0].Secret())
	require.Equal(t, "x "+Mask+" y", NewMasker(r.Secrets()).Mask("x s3cret-2 y"))
	require.Equal(t, Mask+"|"+Mask, NewMasker([]string{"ab", "abc"}).Mask("abc|ab"))
}

func TestNICs(t *testing.T) {
	const use = "@N.mac@ <@N.ipaddress@> @N.netmask@ dhcp=@N.dhcp@ vlan=@N.vlanid:0@"
	for name, row := range map[string]struct {
		constraints string
		values      []string // MEMBER=TEXT
		want        string   // or part of the error, behind "!"
	}{
		"static":           {"{}", []string{"mac=52-54-00-aa-bb-cc", "ipaddress=192.0.2.1", "netmask=255.255.255.0", "vlanid=07"}, "52:54:00:AA:BB:CC <192.0.2.1> 255.255.255.0 dhcp=false vlan=7"},
		"dhcp":             {"{}", []string{"mac=52:54:00:aa:bb:cc", "dhcp=True"}, "52:54:00:AA:BB:CC <>  dhcp=true vlan=0"},
		"dhcp by mode":     {"{}", []string{"constraint=DHCP", "netmask=255.0.0.0"}, " <>  dhcp=true vlan=0"},
		"dhcp unless said": {"{}", []string{"mac=52:54:00:aa:bb:cc"}, "52:54:00:AA:BB:CC <>  dhcp=true vlan=0"},
		"nothing":          {"{}", nil, "none <>  dhcp=false vlan=0"},
		"disabled":         {"{}", []string{"ipv4disable=true", "ipaddress=192.0.2.1", "netmask=255.0.0.0"}, "none <>  dhcp=false vlan=0"},
		"not to disable":   {`{"ipv4disable":false}`, []string{"ipv4disable=true"}, "!cannot be disabled"},
		"not left out":     {`{"ipv4disable":false,"ipv4dhcp":false,"parameters":["ipaddress"]}`, nil, "!has no address"},
		"only its MAC":     {`{"ipv4disable":false,"ipv4dhcp":false,"parameters":["mac"]}`, []string{"mac=52:54:00:aa:bb:cc"}, "52:54:00:AA:BB:CC <>  dhcp= vlan=0"},
		"no dhcp":          {`{"ipv4dhcp":false}`, []string{"dhcp=true"}, "!static addresses only"},
		"no static":        {`{"ipv4static":false}`, []string{"ipaddress=192.0.2.1", "netmask=255.0.0.0"}, "!DHCP only"},
		"both":             {"{}", []string{"dhcp=true", "ipaddress=192.0.2.1"}, "!both DHCP and an address"},
		"no netmask":       {"{}", []string{"ipaddress=192.0.2.1"}, "!no netmask"},
		"no pool":          {"{}", []string{"constraint=auto"}, "!has no address"},
		"bad netmask":      {"{}", []string{"ipaddress=192.0.2.1", "netmask=255.0.255.0"}, "!no netmask, such as"},
		"bad mac":          {"{}", []string{"mac=52:54"}, "!no MAC address"},
		"bad vlan":         {"{}", []string{"vlanid=4095"}, "!0 (none) to 4094"},
		"bad bool":         {"{}", []string{"dhcp=yes"}, "!true or false"},
		"bad mode":         {"{}", []string{"constraint=maybe"}, "!auto, dhcp or"},
		"bad member":       {"{}", []string{"ipadress=192.0.2.1"}, `!no member "ipadress"`},
		"another line":     {"{}", []string{"domain=a\n!rm"}, "!control character"},
	} {
		t.Run(name, func(t *testing.T) {
			in := Inputs{Definitions: []Definition{define(t, "N", NIC, "", row.constraints)}}
			for _, v := range row.values {
				member, value, _ := strings.Cut(v, "=")
				in.Profile = append(in.Profile, NewValue("N."+member, "", value))
			}
			r, err := Resolve(in)
			if want, bad := strings.CutPrefix(row.want, "!"); bad {
				require.ErrorContains(t, err, want)
				require.ErrorIs(t, err, ErrInvalid)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.want, text(r, use))
			require.Equal(t, "@N@ @N.oops@", text(r, "@N@ @N.oops@"))
		})
	}
}
