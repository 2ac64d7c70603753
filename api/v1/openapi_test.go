package v1

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// TestOpenAPI has another program's reader check the description, and compares it with
// the routes both ways.
func TestOpenAPI(t *testing.T) {
	p, err := json.Marshal(OpenAPI("test"))
	require.NoError(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(p)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(context.Background()))

	table, routes := operations(), map[string]bool{}
	for _, r := range Routes() {
		if r.Pattern == "/" {
			continue
		}
		routes[r.Pattern] = true
		_, ok := table[r.Pattern]
		require.True(t, ok, "describe %s in operations.go", r.Pattern)
		method, path, _ := strings.Cut(r.Pattern, " ")
		item := doc.Paths.Value(path)
		require.NotNil(t, item, path)
		op := item.GetOperation(method)
		require.NotNil(t, op, r.Pattern)
		require.NotEmpty(t, op.Summary, r.Pattern)
	}
	for pattern := range table {
		require.True(t, routes[pattern], "operations.go has %s, which is not served", pattern)
	}
	described := 0
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described++
			require.True(t, routes[method+" "+path], "%s %s is not served", method, path)
		}
	}
	require.Len(t, routes, described)
}
