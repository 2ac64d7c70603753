package oneview

import (
	"goldstream/api/imagestreamer"
	"goldstream/api/rest"
	"goldstream/lifecycle/model"
)

const (
	plansPath   = "/rest/os-deployment-plans"
	serversPath = "/rest/deployment-servers"
	clusterURI  = serversPath + "/default"
)

// deploymentPlans are the same plans as the Image Streamer's, to be read.
func deploymentPlans() *rest.Resource {
	return &rest.Resource{
		Kind: model.DeploymentPlans, Path: plansPath,
		Types: []rest.Version{rest.From(0, "Osdp"), rest.From(600, "OsdpV2"), rest.From(1200, "OsdpV3")},
		Show:  showPlan,
	}
}

// planURI is what a profile calls a plan.
func planURI(u model.URI) any {
	if u == "" {
		return nil
	}
	return plansPath + "/" + u.ID()
}

func showPlan(v *rest.View, res model.Resource, o rest.Object) error {
	p := res.(*model.DeploymentPlan)
	attributes, err := imagestreamer.PlanAttributes(v, p)
	if err != nil {
		return err
	}
	delete(o, "customAttributes")
	parameters := []rest.Object{}
	for _, a := range attributes {
		parameters = append(parameters, rest.Object{
			"caId": a["id"], "caType": a["type"], "caConstraints": a["constraints"], "caEditable": a["editable"],
			"name": a["name"], "value": a["value"], "description": a["description"],
		})
	}
	o["uri"], o["category"], o["nativePlanUri"] = planURI(p.URI), "os-deployment-plans", string(p.URI)
	o["additionalParameters"], o["deploymentType"] = parameters, "I3S"
	o["deploymentAppliance"], o["deploymentApplianceIpv4"] = clusterURI, v.Request.Host
	o["architecture"], o["osType"], o["osdpSize"] = "", "", ""
	return nil
}

// deploymentServerRoutes serve the one deployment server: this program.
func deploymentServerRoutes() []rest.Route {
	one := func(path string) rest.Object {
		return rest.Object{
			"type": "DeploymentServer", "category": "deployment-servers", "uri": path + "/default", "id": "default", "name": "goldstream",
			"description": "", "state": "Connected", "status": "OK", "mgmtNetworkUri": nil, "primaryActiveAppliance": nil, "created": nil, "modified": nil, "eTag": nil,
		}
	}
	var routes []rest.Route
	for _, path := range []string{serversPath, "/rest/os-deployment-servers"} {
		routes = append(routes,
			rest.On("GET "+path, func(c *rest.Call) error { return c.List([]rest.Object{one(path)}) }),
			rest.On("GET "+path+"/default", func(c *rest.Call) error { return c.Answer(200, one(path)) }),
			rest.On("GET "+path+"/image-streamer-appliances", func(c *rest.Call) error { return c.List(nil) }),
		)
	}
	return routes
}

// emptyRoutes are collections that clients look into, and that are empty here.
func emptyRoutes() []rest.Route {
	var routes []rest.Route
	for _, name := range []string{
		"fc-networks", "fcoe-networks", "network-sets", "connection-templates", "id-pools/ipv4/subnets", "id-pools/ipv4/ranges",
		"interconnects", "logical-interconnects", "logical-interconnect-groups", "uplink-sets", "scopes", "firmware-drivers", "storage-volumes", "storage-pools", "storage-systems",
	} {
		routes = append(routes, rest.On("GET /rest/"+name, func(c *rest.Call) error { return c.List(nil) }))
	}
	return routes
}
