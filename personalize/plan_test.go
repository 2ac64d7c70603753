package personalize

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/attribute"
)

func TestPlanScriptCheck(t *testing.T) {
	require.NoError(t, PlanScript{Type: Deploy, Content: "echo @A:x@\r\nupload -<<E /a\r\n@B@\r\nE\r\n"}.Check("s"))
	for want, s := range map[string]PlanScript{
		"unknown command": {Type: Deploy, Content: "bogus"},
		"the type":        {Content: "echo"},
		"at most":         {Type: General, Content: strings.Repeat("#", MaxScript+1)},
		"no text":         {Type: General, Content: "\xff"},
		"no text in":      {Type: General, Content: "echo \x00"},
	} {
		err := s.Check("s")
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, attribute.ErrInvalid)
	}
}

func define(name string, kind attribute.Type, text string) attribute.Definition {
	return attribute.NewDefinition(name, kind, text)
}

func TestBuildPlanCheck(t *testing.T) {
	plan := BuildPlan{Type: Deploy, Steps: []BuildStep{{Script: "a"}}, Attributes: []attribute.Definition{define("Name", attribute.String, ""), define("NIC1", attribute.NIC, "")}}
	require.NoError(t, plan.Check("p"))
	require.NoError(t, BuildPlan{Type: Capture}.Check("p"), "no step at all")
	for want, p := range map[string]BuildPlan{
		"use deploy or capture": {Type: General},
		"names no plan script":  {Type: Deploy, Steps: []BuildStep{{}}},
		"no attributes":         {Type: Capture, Attributes: plan.Attributes},
		"at most 256":           {Type: Deploy, Steps: make([]BuildStep, 257)},
	} {
		require.ErrorContains(t, p.Check("p"), want)
	}
	step := func(kind Type, content string) []Step {
		return []Step{{Name: "s", Script: PlanScript{Type: kind, Content: content}}}
	}
	require.NoError(t, plan.CheckSteps("p", step(General, "echo @Name@ @NIC1.mac@ @_Initiator1.ip@ @VolumeSize@ a@@b")))
	err := plan.CheckSteps("p", step(Deploy, "echo\n x @Nmae@ @NIC1@ @Name.x@"))
	require.ErrorIs(t, err, attribute.ErrInvalid)
	for _, want := range []string{`s:2:4: the build plan declares no attribute "Nmae"`, `s:2:11: "NIC1" is a NIC`, `"Name" has the type string`} {
		require.ErrorContains(t, err, want)
	}
	require.ErrorContains(t, plan.CheckSteps("p", step(Capture, "echo")), "types deploy and general")
}

func TestCompile(t *testing.T) {
	steps := []Step{
		{Name: "mount", Script: PlanScript{General, "mount /dev/@Disk:sda@1 /\n-bogus", false}},
		{Name: "user", Script: PlanScript{Deploy, "upload -<<E /etc/x\nroot:@Root@\nE\n!echo @Name@ > ./n", false}},
	}
	in := attribute.Inputs{
		Definitions: []attribute.Definition{define("Disk", attribute.String, ""), define("Root", attribute.Password, ""), define("Name", attribute.Hostname, "{profile}")},
		Profile:     []attribute.Value{attribute.NewValue("Root", "", "s3cret")}, ProfileName: "web-1",
	}
	plan, err := Compile(steps, in)
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, plan.Print(&out))
	require.Equal(t, `# step 1: mount
# left out: mount:2:2: unknown command "bogus": 'goldstream plan commands' lists those that there are; a command of the shell needs ! before it
    1  mount /dev/sda1 /

# step 2: user
    1  upload -<<E /etc/x
       | root:********
    4  !echo web-1 > ./n
`, out.String())
	text, _ := plan.Steps[1].Commands[0].Heredoc()
	require.Equal(t, "root:s3cret\n", text)
	encoded, err := json.Marshal(plan)
	require.NoError(t, err)
	for _, shown := range []string{string(encoded), fmt.Sprintf("%+v", plan), fmt.Sprintf("%#v", *plan)} {
		require.NotContains(t, shown, "s3cret")
	}
	in.Profile = append(in.Profile, attribute.NewValue("Disk", "", "sda1 /x\""))
	_, err = Compile(steps, in)
	require.ErrorContains(t, err, "mount:1:")
	in.Profile[1] = attribute.NewValue("Oops", "", "")
	_, err = Compile(steps, in)
	require.ErrorContains(t, err, "does not declare")
}

const site = `
kind: PlanScript
name: host
type: deploy
script: |
  echo @HostName@
---
kind: BuildPlan
name: web
type: deploy
steps: [{script: host}, {script: elsewhere}]
attributes:
  - {name: HostName, type: hostname, default: "{profile}"}
  - {name: Size, type: number, default: "10", constraints: {minimum: 1, maximum: 20}}
---
kind: DeploymentPlan
name: web
image: debian-12
buildPlan: web
values: {Size: 11}
`

func TestDocuments(t *testing.T) {
	docs, err := ReadDocuments("f", strings.NewReader("---\n"+site))
	require.NoError(t, err)
	require.Len(t, docs, 3)
	reports, err := CheckDocuments(docs)
	require.NoError(t, err)
	require.Equal(t, []Report{
		{Kind: KindScript, Name: "host", Commands: 1, Uses: []string{"HostName"}},
		{Kind: KindBuild, Name: "web", Commands: 1, Steps: 2, Missing: []string{"plan script elsewhere"}},
		{Kind: KindDeployment, Name: "web", Steps: 2},
	}, reports)
	docs[2].Values["Size"] = "30"
	docs[0].Script = "bogus @Host@"
	_, err = CheckDocuments(docs)
	for _, want := range []string{"host:1:1: unknown command", `declares no attribute "Host"`, `deployment plan "web": attribute "Size" cannot be "30": the maximum is 20`} {
		require.ErrorContains(t, err, want)
	}
	require.ErrorIs(t, err, attribute.ErrInvalid)
}

func TestWrongDocuments(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "f has no document",
		"name: x":                              `f, document 1: kind "" is unknown`,
		"kind: PlanScript":                     "without a name",
		"kind: PlanScript\nname: x\nskript: y": "line 3: field skript not found",
		"kind: PlanScript\nname: x\nimage: y":  `has the field "image", which is of another kind`,
		"kind: [":                              "document 1",
		"kind: PlanScript\nname: x\n---\nkind: y":                                       "document 2",
		"a: &a [x]\nb: &b [*a,*a]":                                                      "not found",
		"kind: PlanScript\nname: x\nscript: '" + strings.Repeat("x", MaxDocument) + "'": "more than 8 MiB",
	} {
		_, err := ReadDocuments("f", strings.NewReader(text))
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, attribute.ErrInvalid)
	}
	_, err := ReadDocuments("f", os.NewFile(^uintptr(0), "closed"))
	require.Error(t, err)
}

// TestProblemsHideSecrets has each problem that quotes the script, with a
// password in what it quotes.
func TestProblemsHideSecrets(t *testing.T) {
	for _, row := range []struct{ script, value, want string }{
		{"@Pw@ x", "hunter2", `unknown command "********": 'gold`},
		{"x@Pw@", "hunter2", `unknown command "********": 'gold`},
		{"glob @Pw@ x", "hunter2", `unknown command "********": 'gold`},
		{"@Pw@ /hunter2", "mk-dir", `unknown command "********": 'gold`},
		{"@Pw@ x", "mkdir", `the command "********" cannot have these arguments`},
		{"glob @Pw@ x", "<!hunter2", `"********" cannot stand here`},
		{"mkdir @Pw@", "hunter2", `mkdir: "********" is no path`},
		{"mkdir '@Pw@'", "hunter2\t\\\"", `mkdir: "********" is no path`},
		{"mkdir @Pw@", strings.Repeat("hunter2", 100), `mkdir: "********" is no path`},
		{"mount x@Pw@ /", "hunter2", `mount: "********" is no device`},
		{"chmod @Pw@ /x", "hunter2", `chmod: "********" is no whole number`},
		{"upload -<<@Pw@ /x", "hunter2", `no line is "********" alone`},
		{"write /k \"@Pw@\"", "begin\nhunter2\nmkdir hunter2\n-hunter2\nend", "the double quote has no end"},
		{"mkdir @Pw:hunter2@", "", `mkdir: "********" is no path`},
	} {
		for _, ignored := range []string{"", "-"} {
			in := attribute.Inputs{Definitions: []attribute.Definition{define("Pw", attribute.Password, "")}}
			in.Definitions[0].Constraints, _ = attribute.ParseConstraints(`{"multiline":"true"}`)
			in.Profile = []attribute.Value{attribute.NewValue("Pw", "", row.value)}
			if row.value == "" {
				in.Profile = nil
			}
			plan, err := Compile([]Step{{Name: "s", Script: PlanScript{General, ignored + row.script, false}}}, in)
			var out strings.Builder
			require.NoError(t, plan.Print(&out))
			encoded, encodeErr := json.Marshal(plan)
			require.NoError(t, encodeErr)
			shown := fmt.Sprintf("%v\n%s%s%+v", err, out.String(), encoded, plan)
			found := fmt.Sprint(err)
			if ignored != "" {
				found = fmt.Sprint(plan.Steps[0].Warnings)
			}
			require.Contains(t, found, row.want, "%q", row.script)
			require.NotContains(t, strings.ReplaceAll(shown, "/hunter2", ""), "hunter2", "%q", row.script)
			if row.value == "mkdir" || row.value == "mk-dir" {
				require.NotContains(t, shown, "mkdir", "%q", row.script)
			}
		}
	}
	in := attribute.Inputs{Definitions: []attribute.Definition{define("Pw", attribute.Password, "mkdir")}}
	plan, err := Compile([]Step{{Name: "s", Script: PlanScript{General, "@Pw@ /x", false}}}, in)
	require.NoError(t, err)
	encoded, err := json.Marshal(plan)
	require.NoError(t, err)
	require.NotContains(t, string(encoded), "mkdir")
}

func TestSecretsOfScripts(t *testing.T) {
	in := attribute.Inputs{Definitions: []attribute.Definition{define("Pw", attribute.Password, ""), define("Root", attribute.Password, "s3cret")}}
	plan, err := Compile([]Step{{Name: "s", Script: PlanScript{General, "!echo @Pw:hunter2@ @Pw:hunter2@ @Pw:other@ @Root:unused@", false}}}, in)
	require.NoError(t, err)
	require.Equal(t, []string{"hunter2", "other", "s3cret"}, plan.Values.Secrets())
	require.NotContains(t, fmt.Sprintf("%+v %#v", plan.Values, *plan.Values), "hunter2")
}
