package v1

import "goldstream/access"

// rights says what each route needs. One that is missing needs everything, and a
// test asks for its row.
func rights() map[string]access.Right {
	m := map[string]access.Right{
		"/":                 access.Read, // what there is not
		"GET /metrics":      access.Read,
		"GET /v1/version":   access.Public,
		"GET /healthz":      access.Public,
		"GET /openapi.json": access.Public,
		"GET /readyz":       access.Public, // with reasons for those who may read

		"POST /v1/sessions":          access.Public,
		"GET /v1/sessions/own":       access.Read,
		"DELETE /v1/sessions/own":    access.Read,
		"GET /v1/users":              access.Administer,
		"POST /v1/users":             access.Administer,
		"PUT /v1/users/{name}":       access.Administer,
		"DELETE /v1/users/{name}":    access.Administer,
		"GET /v1/api-tokens":         access.Read, // one's own
		"POST /v1/api-tokens":        access.Read, // of a role that one's own covers
		"DELETE /v1/api-tokens/{id}": access.Read, // one's own

		"GET /v1/status":      access.Read,
		"GET /v1/connections": access.Read,
		"GET /v1/usage":       access.Read,
		"GET /v1/stats":       access.Read,
		"GET /v1/events":      access.Read,

		"GET /v1/images":                access.Read,
		"GET /v1/images/{name}":         access.Read,
		"DELETE /v1/images/{name}":      access.ChangeSoftware,
		"GET /v1/images/{name}/export":  access.ChangeSoftware, // all content
		"POST /v1/images/{name}/import": access.ChangeSoftware,
		"POST /v1/images/{name}/verify": access.Operate,
		"POST /v1/images/{name}/repair": access.ChangeSoftware,
		"POST /v1/images/{name}/digest": access.Operate,
		// Of a volume, whose secrets are in the image then.
		"POST /v1/images/{name}/capture": access.ChangeSoftware,

		"GET /v1/volumes":                         access.Read,
		"POST /v1/volumes":                        access.ChangeServers,
		"GET /v1/volumes/{name}":                  access.Read,
		"POST /v1/volumes/{name}/grow":            access.ChangeServers,
		"POST /v1/volumes/{name}/quota":           access.ChangeServers,
		"DELETE /v1/volumes/{name}":               access.ChangeServers,
		"POST /v1/volumes/{name}/accept-loss":     access.ChangeServers,
		"POST /v1/volumes/{name}/accept-epoch":    access.ChangeServers,
		"POST /v1/volumes/{name}/rollback":        access.ChangeServers,
		"GET /v1/volumes/{name}/snapshots":        access.Read,
		"POST /v1/volumes/{name}/snapshots":       access.ChangeServers,
		"POST /v1/volumes/{name}/snapshots/prune": access.ChangeServers,
		// All content of a volume, with its secrets.
		"GET /v1/volumes/{name}/snapshots/{snapshot}/export": access.ChangeServers,
		"DELETE /v1/volumes/{name}/snapshots/{snapshot}":     access.ChangeServers,

		"GET /v1/retired":               access.Read,
		"POST /v1/retired/{id}/restore": access.ChangeServers,
		"DELETE /v1/retired/{id}":       access.ChangeServers,

		"POST /v1/volumes/{name}/exports": access.ChangeServers,
		"GET /v1/exports":                 access.Read,
		"DELETE /v1/exports/{id}":         access.ChangeServers,

		"GET /v1/boot":                       access.Read,
		"POST /v1/boot/files":                access.ChangeServers,
		"PUT /v1/volumes/{name}/boot":        access.ChangeServers,
		"POST /v1/volumes/{name}/boot/files": access.ChangeServers,
		"POST /v1/volumes/{name}/boot/next":  access.ChangeServers,
		"DELETE /v1/volumes/{name}/boot":     access.ChangeServers,

		"GET /v1/store/checkpoints":  access.Read,
		"POST /v1/store/checkpoints": access.Administer,
		"POST /v1/store/check":       access.Administer,
		"GET /v1/store/dump":         access.Administer,
		"GET /v1/scrub":              access.Read,
		"POST /v1/scrub":             access.Administer,
		"DELETE /v1/scrub":           access.Administer,

		"GET /v1/tasks":              access.Read,
		"GET /v1/tasks/{id}":         access.Read,
		"POST /v1/tasks/{id}/cancel": access.Operate,

		"GET /v1/plans":                  access.Read,
		"POST /v1/plans":                 access.ChangeSoftware,
		"GET /v1/plans/{kind}/{name}":    access.Read,
		"DELETE /v1/plans/{kind}/{name}": access.ChangeSoftware,
		"POST /v1/deployments":           access.ChangeServers,
		"POST /v1/deployments/preview":   access.Operate,

		"POST /v1/profiles/{name}/redeploy": access.ChangeServers,
		"POST /v1/profiles/{name}/comply":   access.ChangeServers,
		"POST /v1/check-profiles":           access.Operate,

		"GET /v1/bundles":                 access.Read,
		"POST /v1/bundles":                access.ChangeSoftware,
		"GET /v1/bundles/{name}":          access.Read,
		"PUT /v1/bundles/{name}":          access.ChangeSoftware,
		"DELETE /v1/bundles/{name}":       access.ChangeSoftware,
		"GET /v1/bundles/{name}/file":     access.ChangeSoftware, // images are in it
		"POST /v1/bundles/{name}/preview": access.Operate,
		"POST /v1/bundles/{name}/import":  access.ChangeSoftware,
		"POST /v1/bundle-requests":        access.ChangeSoftware,
		"POST /v1/captures":               access.ChangeSoftware,
		"POST /v1/captures/preview":       access.Operate,

		"POST /v1/mounts": access.Local, // a device is handed over
	}
	for _, c := range Collections() {
		path := "/v1/" + string(c)
		m["GET "+path] = access.Read
		m["GET "+path+"/{name}"] = access.Read
		m["POST "+path] = access.ChangeServers
		m["PUT "+path+"/{name}"] = access.ChangeServers
		m["DELETE "+path+"/{name}"] = access.ChangeServers
	}
	return m
}
