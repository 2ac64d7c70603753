package personalize

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/attribute"
)

const native = `
kind: BuildPlan
name: web
type: deploy
steps:
  - hostname: "@Name@"
  - file: {path: /etc/motd, content: "hello @Name@, pw @Root@ or @Root:fall-back@\n"}
  - network: {nics: [NIC1]}
  - newMachineId: true
  - script: elsewhere
attributes:
  - {name: Name, type: hostname, default: "{profile}"}
  - {name: Root, type: password}
  - {name: NIC1, type: nic}
`

// TestNativeSteps has steps without a script in a build plan.
func TestNativeSteps(t *testing.T) {
	docs, err := ReadDocuments("f", strings.NewReader(native))
	require.NoError(t, err)
	reports, err := CheckDocuments(docs)
	require.NoError(t, err)
	require.Equal(t, []Report{{Kind: KindBuild, Name: "web", Steps: 5, Uses: []string{"Name", "Root", "NIC1"}, Missing: []string{"plan script elsewhere"}}}, reports)

	plan, err := docs[0].Build(func(name string) (string, error) { return name, nil })
	require.NoError(t, err)
	stored, err := json.Marshal(plan)
	require.NoError(t, err)
	var kept BuildPlan
	require.NoError(t, json.Unmarshal(stored, &kept))
	require.Equal(t, plan.Steps, kept.Steps)

	var steps []Step
	for _, s := range kept.Steps[:4] {
		steps = append(steps, Step{Name: s.Native.Title(), Native: s.Native})
	}
	in := attribute.Inputs{
		Definitions: plan.Attributes, ProfileName: "web-1",
		Profile: []attribute.Value{
			attribute.NewValue("Root", "", "s3cret"), attribute.NewValue("NIC1.mac", "", "52:54:00:00:00:01"), attribute.NewValue("NIC1.dhcp", "", "true"),
		},
	}
	program, err := Compile(steps, in)
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, program.Print(&out))
	require.Equal(t, `# step 1: hostname
       hostname: web-1

# step 2: file /etc/motd
       file:
           path: /etc/motd
           content: |
               hello web-1, pw ******** or ********

# step 3: network
       network:
           nics:
               - NIC1

# step 4: newMachineId
       newMachineId: true
`, out.String())
	shown, err := json.Marshal(program)
	require.NoError(t, err)
	require.Contains(t, string(shown), `"hello web-1, pw ******** or ********\n"`)
	require.NotContains(t, string(shown)+fmt.Sprintf("%v %+v %#v", program, program, *program), "s3cret")
	require.Equal(t, []string{"s3cret"}, program.Values.Secrets(), "the default is not taken")
	in.Profile = in.Profile[1:]
	program, err = Compile(steps, in)
	require.NoError(t, err)
	require.Equal(t, []string{"fall-back"}, program.Values.Secrets())
}

// TestWrongNativeSteps is told when a plan is checked: nothing was deployed yet.
func TestWrongNativeSteps(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                                          "nothing else to do",
		"{hostname: a, newMachineId: true}":           "exactly one of",
		"{script: x, hostname: a}":                    "make two steps of it",
		"{hostname: '@Oops@'}":                        `declares no attribute "Oops"`,
		"{hostname: '@Name.x@'}":                      "so no member",
		"{hostname: '@NIC1@'}":                        "name its member",
		"{network: {nics: [Name]}}":                   `declares no NIC "Name"`,
		"{network: {nics: []}}":                       "names no NICs",
		"{file: {path: etc/motd, content: x}}":        "is no path",
		"{file: {path: /etc/motd, contents: x}}":      "contents not found",
		"{sshKeys: {user: '@User@', keys: '@Name@'}}": `declares no attribute "User"`,
	} {
		docs, err := ReadDocuments("f", strings.NewReader("kind: BuildPlan\nname: p\ntype: deploy\nsteps:\n  - "+text+`
attributes:
  - {name: Name, type: hostname}
  - {name: NIC1, type: nic}
`))
		if err == nil {
			_, err = CheckDocuments(docs)
		}
		require.ErrorContains(t, err, want, text)
		require.ErrorIs(t, err, attribute.ErrInvalid, text)
	}
}
