package nbd

import (
	"context"
	"strings"
)

// metaOption answers LIST_META_CONTEXT and SET_META_CONTEXT.
//
//	name length u32, name, count u32, {query length u32, query}…
//
// A query is "namespace:leaf". LIST without queries, or with "base:", means
// all; SET takes exact names only and ignores what it does not know. A SET
// replaces what the one before chose, even when it fails. proto: Metadata
// querying, NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT.
func (c *conn) metaOption(ctx context.Context, out *optionReply, data []byte) error {
	set := out.option == optSetMeta
	if set {
		c.forgetContexts()
	}
	if !c.structured {
		return invalid("meta contexts need STRUCTURED_REPLY first")
	}
	name, queries, err := parseMeta(data)
	if err != nil {
		return err
	}
	if err := c.open(ctx, name); err != nil {
		return err
	}
	if wantsAllocation(queries, set) {
		c.addContext(out, set)
	}
	out.ack()
	return nil
}

func (c *conn) forgetContexts() { c.metaChosen, c.metaExport = false, "" }

// parseMeta splits the data. The queries' number is bounded by the data's
// length.
func parseMeta(data []byte) (name string, queries []string, err error) {
	d := cursor{p: data}
	name = d.string()
	for n := d.uint32(); n > 0 && !d.bad; n-- {
		queries = append(queries, d.string())
	}
	if !d.complete() {
		return "", nil, invalid("the data's length does not fit the name and the queries in it")
	}
	for _, q := range queries {
		if namespace, _, ok := strings.Cut(q, ":"); !ok || namespace == "" {
			return "", nil, invalid("a meta context query must be of the form namespace:name")
		}
	}
	return name, queries, nil
}

func wantsAllocation(queries []string, set bool) bool {
	if len(queries) == 0 {
		return !set
	}
	for _, q := range queries {
		if q == contextAllocation || q == "base:" && !set {
			return true
		}
	}
	return false
}

// addContext reports base:allocation, and with set chooses it. In answers to
// LIST the number means nothing.
func (c *conn) addContext(out *optionReply, set bool) {
	if set {
		c.metaChosen, c.metaExport = true, c.export
	}
	out.add(repMetaContext, append(be.AppendUint32(nil, contextID), contextAllocation...))
}
