package nbd

import (
	"context"
	"strings"
)

// metaOption answers LIST_META_CONTEXT and SET_META_CONTEXT.
//
//	name length u32, name, count u32, {query length u32, query}…
//
// A query is "namespace:leaf". LIST without queries means all, with
// "namespace:" all of that one; SET takes exact names only. Both ignore what
// they do not know. A SET replaces what the one before chose, even when it
// fails. proto: Metadata querying, NBD_OPT_LIST_META_CONTEXT,
// NBD_OPT_SET_META_CONTEXT.
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
	c.addContexts(out, matchingAll(queries, !set), set)
	out.ack()
	return nil
}

func (c *conn) forgetContexts() { c.metaChosen, c.metaExport = 0, "" }

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
		if namespace, _, ok := strings.Cut(q, ":"); !ok || namespace == "" || !validString(q) {
			return "", nil, invalid("a meta context query must be of the form namespace:name, in UTF-8, and no longer than 4096 bytes")
		}
	}
	return name, queries, nil
}

// addContexts reports contexts, and with set chooses them. In answers to LIST
// the number means nothing.
func (c *conn) addContexts(out *optionReply, contexts contextSet, set bool) {
	if set && contexts != 0 {
		c.metaChosen, c.metaExport = contexts, c.export
	}
	for _, m := range &metaContexts {
		if contexts&m.set != 0 {
			out.add(repMetaContext, append(be.AppendUint32(nil, m.id), m.name...))
		}
	}
}

// settleContexts decides which contexts are in effect for the export that GO or
// EXPORT_NAME opened.
func (c *conn) settleContexts() {
	c.contexts = 0
	if c.structured && c.metaExport == c.export {
		c.contexts = c.metaChosen
	}
}
