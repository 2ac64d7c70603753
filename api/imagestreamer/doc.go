// Package imagestreamer is the API of the Image Streamer appliance over the
// model: plan scripts, build plans, deployment plans, golden images, OS volumes,
// artifact bundles and deployment groups, under /rest/. The programs that were
// written for the appliance work with it unchanged; package rest has what their
// resources have in common.
//
// # What differs from the appliance
//
// Plans may be changed while volumes made from them are in use: a volume keeps
// what it was made of. The logs have no secrets in them. An upload is read as
// it comes, without a copy, in any format that goldstream imports.
package imagestreamer

import "goldstream/api/rest"

// Tree is all of it.
func Tree() rest.Tree {
	t := rest.Tree{Resources: []*rest.Resource{
		planScripts(), buildPlans(), deploymentPlans(), goldenImages(), osVolumes(), deployedTargets(), artifactBundles(),
	}}
	for _, routes := range [][]rest.Route{imageRoutes(), volumeRoutes(), bundleRoutes(), groupRoutes()} {
		t.Routes = append(t.Routes, routes...)
	}
	return t
}
