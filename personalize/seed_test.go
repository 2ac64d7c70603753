package personalize

import (
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/attribute"
)

// TestSeed finds what a build plan of two scripts has to declare, and a plan that does
// so is right.
func TestSeed(t *testing.T) {
	scripts := []PlanScript{
		{General, "mount /dev/@Disk:sda3@ /\r\necho @NIC1.ipaddress@ @NIC1.mac:none@ root@@@Host@ a@b\r\n", false},
		{Deploy, "echo @Host@ @Motd:Welcome (here), all!@ @NIC1.dns1@ @_Initiator1.mac@ @VolumeSize@ @Disk:sdb@ @Known:x@", false},
	}
	known := attribute.NewDefinition("Known", attribute.Option, "")
	var err error
	known.Constraints, err = attribute.ParseConstraints(`{"options":["x"]}`)
	require.NoError(t, err)
	got := Seed(scripts, []attribute.Definition{known})
	require.Equal(t, []DocumentAttribute{
		{Name: "Disk", Type: attribute.String, Default: "sda3"},
		{Name: "NIC1", Type: attribute.NIC, Constraints: map[string]any{"parameters": []string{"dns1", "ipaddress", "mac"}}},
		{Name: "Host", Type: attribute.String},
		{Name: "Motd", Type: attribute.String, Default: "Welcome (here), all!"},
	}, got)
	plan := BuildPlan{Type: Deploy, Attributes: []attribute.Definition{known}}
	for _, a := range got {
		d, err := a.definition()
		require.NoError(t, err)
		plan.Attributes = append(plan.Attributes, d)
	}
	require.NoError(t, plan.Check("seeded"))
	require.NoError(t, plan.CheckSteps("seeded", []Step{{Name: "one", Script: scripts[0]}, {Name: "two", Script: scripts[1]}}))
	require.Empty(t, Seed(nil, nil))
}
