// Package v1 is goldstream's own HTTP API: its wire types, its handlers and a
// Go client. It holds no state; everything it serves comes from a [Backend].
//
// # Transport
//
// On the network, HTTP/1.1 over TLS: requests carry the token of a session or an API
// token (see the package access), and rights.go says which role each route needs.
//
// Else HTTP/1.1 over a Unix socket, DATA/goldstream.sock, mode 0660: whoever may
// open the socket may do everything, except that importing a file by its path
// is kept to root and to the daemon's own user (others would read files with
// the daemon's rights; they stream the content instead). With the path goes the
// identity of the file that the client means, see [HostFile]. The command line uses
// the same handlers through the same [Client] without a daemon, over a socket
// pair inside one process.
//
// # Routes
//
//	GET    /v1/version
//	POST   /v1/sessions                JSON {user, password, newPassword}
//	GET    /v1/sessions/own            who makes the request
//	DELETE /v1/sessions/own
//	GET    /v1/users
//	POST   /v1/users                   JSON {name, role, password, oneTime}
//	PUT    /v1/users/{name}            JSON {role, password, oneTime}
//	DELETE /v1/users/{name}
//	GET    /v1/api-tokens
//	POST   /v1/api-tokens              JSON {name, role, lifetime}
//	DELETE /v1/api-tokens/{id}
//	GET    /v1/status
//	GET    /v1/images
//	GET    /v1/images/{name}
//	POST   /v1/images/{name}/import    JSON {path} or the image as octet-stream   NDJSON
//	GET    /v1/images/{name}/export    ?format=raw|zstd|sparse                    bytes
//	POST   /v1/images/{name}/verify                                               NDJSON
//	POST   /v1/images/{name}/repair    as import                                  NDJSON
//	POST   /v1/images/{name}/digest    ?sha256=true                               NDJSON
//	POST   /v1/images/{name}/capture   JSON {volume, snapshot}                    NDJSON
//	DELETE /v1/images/{name}
//	GET    /v1/volumes
//	POST   /v1/volumes                 JSON {name, image, size, quota, volume, snapshot}
//	GET    /v1/volumes/{name}
//	POST   /v1/volumes/{name}/grow     JSON {size}
//	POST   /v1/volumes/{name}/quota    JSON {quota}
//	DELETE /v1/volumes/{name}          ?keep=72h retires it for that time
//	POST   /v1/volumes/{name}/rollback JSON {snapshot, as, owner, disconnect}
//	GET    /v1/volumes/{name}/snapshots
//	POST   /v1/volumes/{name}/snapshots                     JSON {name, owner}
//	POST   /v1/volumes/{name}/snapshots/prune               JSON {keep, owner, dryRun}
//	GET    /v1/volumes/{name}/snapshots/{snapshot}/export   as an image's         bytes
//	DELETE /v1/volumes/{name}/snapshots/{snapshot}
//	GET    /v1/retired
//	POST   /v1/retired/{id}/restore    JSON {as}; id may be the name of one
//	DELETE /v1/retired/{id}
//	GET    /v1/usage
//	GET    /v1/COLLECTION              hardware, hardware-types, enclosures, enclosure-groups, logical-enclosures, profiles
//	POST   /v1/COLLECTION              JSON, a resource; ?dryRun=true, ?confirm=volume-loss, as the next two
//	GET    /v1/COLLECTION/{name}
//	PUT    /v1/COLLECTION/{name}       JSON, all of the resource
//	DELETE /v1/COLLECTION/{name}
//	POST   /v1/profiles/{name}/redeploy
//	POST   /v1/check-profiles
//	GET    /v1/events                  ?behind=NUMBER&limit=N, the audit trail
//	GET    /v1/store/checkpoints
//	POST   /v1/store/checkpoints
//	GET    /v1/store/dump                                                         NDJSON
//	POST   /v1/store/check                                                        NDJSON
//	POST   /v1/mounts                  JSON {write, uid, gid}; see mount.go       upgrade
//	POST   /v1/scrub                   begins one
//	GET    /v1/scrub
//	DELETE /v1/scrub                   ends it
//
// # Conventions
//
// Requests are strict: an unknown JSON field or query parameter is an error. An
// Idempotency-Key header names a request; the same key again returns the first
// result. An If-Match header, or an eTag in the body, has a change refused that
// does not know the present state. Grow and prune take none: to repeat them does no harm.
//
// Long work answers with NDJSON, one [Event] a line; the last line is the
// result or the error. A connection that the client closes cancels the work.
//
// Errors are {"error":{"code","message","advice"}}; see [Code] for the codes
// and the HTTP status of each. Work that failed before its first progress line
// answers with that status, later with an error line under status 200.
package v1
