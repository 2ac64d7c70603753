// Package oneview is the part of the OneView API that clients need to have
// servers deployed: server profiles and their templates, server hardware and its
// types, enclosures, their groups and logical enclosures, networks that
// connections name, and deployment plans as OneView saw them. Package rest has
// what they have in common.
//
// # Two names for one thing
//
// A profile names a deployment plan by /rest/os-deployment-plans/ID, and its
// volume by /rest/deployed-targets/ID; the Image Streamer has the same things
// under /rest/deployment-plans/ID and /rest/os-volumes/ID. IDs are the same, and
// either name of a plan is taken.
//
// # What only describes
//
// Goldstream programs no switch and no firmware. Connections, BIOS and storage
// settings of profiles are kept and shown as they were sent: clients compare
// them. Whether OS deployment is on in an enclosure group is real.
package oneview

import "goldstream/api/rest"

// Tree is all of it.
func Tree() rest.Tree {
	t := rest.Tree{Resources: []*rest.Resource{
		hardwareTypes(), hardware(), enclosures(), enclosureGroups(), logicalEnclosures(), networks(),
		profiles(), templates(), deploymentPlans(),
	}}
	for _, routes := range [][]rest.Route{hardwareRoutes(), logicalRoutes(), profileRoutes(), templateRoutes(), deploymentServerRoutes(), emptyRoutes()} {
		t.Routes = append(t.Routes, routes...)
	}
	return t
}
