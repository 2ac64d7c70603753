package v1

import (
	"net/http"
	"regexp"
	"strings"
	"sync"

	"goldstream/access"
)

// The API's description in OpenAPI 3.0 is made of the table in operations.go and of
// the types of requests and answers themselves, so that it cannot tell of fields that
// are not there. Tests compare it with the routes and with answers.

func (s *server) routeOpenAPI(mux *router) {
	document := sync.OnceValue(func() any { return OpenAPI(s.version.Version) })
	mux.HandleFunc("GET /openapi.json", s.answer(func(http.ResponseWriter, *http.Request) (any, error) {
		return document(), nil
	}))
}

type object = map[string]any

// OpenAPI returns the description of the API.
func OpenAPI(version string) map[string]any {
	b := newSchemas()
	table := operations()
	for _, op := range table {
		b.asked(op.in)
	}
	paths := object{}
	for _, r := range Routes() {
		op, ok := table[r.Pattern]
		if !ok {
			continue // the answer to what there is not; a test sees to the rest
		}
		method, path, _ := strings.Cut(r.Pattern, " ")
		item, _ := paths[path].(object)
		if item == nil {
			item = object{}
			paths[path] = item
		}
		item[strings.ToLower(method)] = b.operation(r, path, op)
	}
	return object{
		"openapi": "3.0.3",
		"info":    object{"title": "goldstream", "version": version, "description": "Golden OS images, OS volumes, and the servers that boot from them."},
		"paths":   paths,
		"components": object{
			"schemas":         b.schemas,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "description": "Of a session, or an API token. The Unix socket needs none."}},
		},
	}
}

// operation describes one route.
type operation struct {
	does  string
	query string // names of parameters, parted by spaces
	in    any    // a value of the type of the body; nil: none
	takes string // media type of a body that is not JSON
	out   any    // of the answer; nil: 204
	gives string // media type of an answer that is not JSON
	lines bool   // the answer is lines of Event, whose result is out
}

var parameterRule = regexp.MustCompile(`\{(\w+)\}`)

func (b *schemas) operation(r Route, path string, op operation) object {
	o := object{"summary": op.does, "operationId": r.Pattern, "responses": b.responses(op)}
	var parameters []object
	for _, m := range parameterRule.FindAllStringSubmatch(path, -1) {
		parameters = append(parameters, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, name := range strings.Fields(op.query) {
		parameters = append(parameters, object{"name": name, "in": "query", "schema": object{"type": "string"}})
	}
	if parameters != nil {
		o["parameters"] = parameters
	}
	if body := b.body(op); body != nil {
		o["requestBody"] = object{"content": body, "required": true}
	}
	var roles []string
	for _, role := range r.Right.Named() {
		roles = append(roles, string(role))
	}
	o["security"] = []object{{"token": []string{}}}
	switch {
	case len(roles) == 0:
		o["description"] = "On the Unix socket only."
	case r.Right == access.Public:
		o["security"] = []object{}
	default:
		o["description"] = "Roles: " + strings.Join(roles, ", ") + "."
	}
	return o
}

func (b *schemas) body(op operation) object {
	content := object{}
	if op.in != nil {
		content[TypeJSON] = object{"schema": b.of(op.in)}
	}
	if op.takes != "" {
		content[op.takes] = object{"schema": object{"type": "string", "format": "binary"}}
	}
	if len(content) == 0 {
		return nil
	}
	return content
}

func (b *schemas) responses(op operation) object {
	good, status := object{"description": "Done."}, "204"
	switch {
	case op.lines:
		status, good["description"] = "200", "Lines of events; the last one has the result or an error."
		event := b.of(Event{})
		if op.out != nil {
			event = object{"allOf": []object{event, {"type": "object", "properties": object{"result": b.of(op.out)}}}}
		}
		good["content"] = object{TypeNDJSON: object{"schema": event}}
	case op.gives != "":
		status, good["content"] = "200", object{op.gives: object{"schema": object{"type": "string", "format": "binary"}}}
	case op.out != nil:
		status, good["content"] = "200", object{TypeJSON: object{"schema": b.of(op.out)}}
	}
	return object{status: good, "default": object{
		"description": "An error.", "content": object{TypeJSON: object{"schema": b.of(errorBody{})}},
	}}
}
