package rest

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// selected is the part of a collection that a request asks for. Several filters
// must all hold; several queries too. Parameters that nobody knows are passed
// over: clients have some of their own.
func selected(ctx context.Context, all []Object, path string, q url.Values) (Object, error) {
	var filters []filter
	for _, text := range append(slices.Clone(q["filter"]), q["query"]...) {
		if strings.TrimSpace(text) == "" {
			continue
		}
		f, err := parseFilter(text)
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	members := []Object{}
	for _, o := range all {
		if !slices.ContainsFunc(filters, func(f filter) bool { return !f(ctx, o) }) {
			members = append(members, o)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if err := arrange(members, q["sort"]); err != nil {
		return nil, err
	}
	return page(members, path, q)
}

// arrange sorts: "field:asc", "field:desc", several with commas between them.
func arrange(members []Object, sorts []string) error {
	type by struct {
		field string
		sign  int
	}
	var keys []by
	for _, s := range strings.Split(strings.Join(sorts, ","), ",") {
		field, direction, _ := strings.Cut(strings.TrimSpace(s), ":")
		switch strings.ToLower(direction) {
		case "", "asc", "ascending":
			keys = append(keys, by{field, 1})
		case "desc", "descending":
			keys = append(keys, by{field, -1})
		default:
			return Bad("sort=%.64q: write a field, a colon, and asc or desc", s)
		}
	}
	if len(sorts) == 0 {
		keys = []by{{"name", 1}}
	}
	slices.SortStableFunc(members, func(a, b Object) int {
		for _, k := range keys {
			if n := order(text(a.at(k.field)), text(b.at(k.field))); n != 0 {
				return n * k.sign
			}
		}
		return 0
	})
	return nil
}

// page cuts out what start and count ask for; everything without them, since
// some clients never ask for a second page.
func page(members []Object, path string, q url.Values) (Object, error) {
	start, err := number(q, "start", 0)
	if err != nil {
		return nil, err
	}
	count, err := number(q, "count", -1)
	if err != nil {
		return nil, err
	}
	total := len(members)
	start = min(max(start, 0), total)
	end := total
	if count >= 0 {
		end = start + min(count, total-start)
	}
	var next, previous any
	if end < total && count > 0 {
		next = pageURI(path, q, end, count)
	}
	if start > 0 && count > 0 {
		previous = pageURI(path, q, max(start-count, 0), count)
	}
	self := path
	if len(q) > 0 {
		self += "?" + q.Encode()
	}
	return Object{
		"type": "PaginatedCollection", "category": strings.TrimPrefix(path, "/rest/"), "uri": self,
		"members": members[start:end], "start": start, "count": end - start, "total": total,
		"nextPageUri": next, "prevPageUri": previous, "eTag": nil, "created": nil, "modified": nil,
	}, nil
}

func pageURI(path string, q url.Values, start, count int) string {
	next := url.Values{}
	for key, values := range q {
		next[key] = values
	}
	next.Set("start", strconv.Itoa(start))
	next.Set("count", strconv.Itoa(count))
	return path + "?" + next.Encode()
}

func number(q url.Values, name string, otherwise int) (int, error) {
	s := q.Get(name)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, Bad("%s=%.64q is no whole number", name, s)
	}
	return n, nil
}
