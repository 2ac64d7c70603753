package imagestreamer

import "goldstream/api/rest"

// groupRoutes serve the one deployment group: all that this program has.
func groupRoutes() []rest.Route {
	const path = "/rest/deployment-groups"
	one := func() rest.Object {
		return rest.Object{
			"type": "DeploymentGroup", "category": "deployment-groups", "id": "default", "uri": path + "/default", "name": "default", "description": "",
			"status": "OK", "state": "Normal", "managementNetworkname": nil, "managementNetworkuri": nil, "eTag": nil, "created": nil, "modified": nil,
		}
	}
	return []rest.Route{
		rest.On("GET "+path, func(c *rest.Call) error { return c.List([]rest.Object{one()}) }),
		rest.On("GET "+path+"/default", func(c *rest.Call) error { return c.Answer(200, one()) }),
	}
}
