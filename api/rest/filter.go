package rest

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A filter is what clients write into ?filter= and ?query=:
//
//	expression = all { "OR" all }
//	all        = one { "AND" one }
//	one        = "(" expression ")" | [ "NOT" ] field operator value
//	operator   = "=" "!=" "<>" "<" "<=" ">" ">=" and their words: eq, ne, lt, le, gt, ge; matches, like
//
// The whole may stand in double quotes, and the field in quotes of either sort.
// A value may have quotes of its own inside: it ends with the quote that the
// end, a parenthesis, AND or OR follows. Texts compare without regard to case;
// "matches" takes % for anything, and nothing else for a wildcard.
//
// Once the context is over a filter says false or true without looking: who asks
// looks at the context.
type filter func(context.Context, Object) bool

type filterParser struct{ rest, all string }

func parseFilter(s string) (filter, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxFilter {
		return nil, Bad("a filter of %d bytes: use at most %d", len(s), maxFilter)
	}
	if !utf8.ValidString(s) {
		return nil, Bad("the filter %.256q is no UTF-8: write it in UTF-8", s)
	}
	if n := len(s); n > 1 && s[0] == '"' && s[n-1] == '"' {
		if f, err := parseExpression(s[1 : n-1]); err == nil {
			return f, nil // else: "name" = "x"
		}
	}
	return parseExpression(s)
}

func parseExpression(s string) (filter, error) {
	p := &filterParser{rest: s, all: s}
	f, err := p.any(0)
	if err == nil && p.skip() != "" {
		err = p.bad("nothing more behind the value")
	}
	return f, err
}

const (
	maxFilter      = 4096 // bytes
	maxFilterDepth = 16   // parentheses
)

// fieldEnd is where the field ends that begins s.
func fieldEnd(s string) int {
	return len(s) - len(strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"))
}

var (
	operator = regexp.MustCompile(`^(?i)(!=|<>|<=|>=|=|<|>|(?:matches|like|eq|ne|neq|lt|le|gt|ge)\b)\s*`)
	word     = regexp.MustCompile(`^(?i)(and|or|not)\b\s*`)
	ends     = regexp.MustCompile(`^(?i)\s*(\)|$|(and|or)\b)`)
)

func (p *filterParser) bad(want string) error {
	return Bad("the filter %.256q cannot be read at %.64q: there must be %s, as in name matches 'web%%' AND state = 'Normal'", p.all, p.rest, want)
}

func (p *filterParser) skip() string {
	p.rest = strings.TrimLeft(p.rest, " \t")
	return p.rest
}

// take consumes a word.
func (p *filterParser) take(want string) bool {
	m := word.FindString(p.skip())
	if !strings.EqualFold(strings.TrimSpace(m), want) {
		return false
	}
	p.rest = p.rest[len(m):]
	return true
}

func (p *filterParser) any(depth int) (filter, error) {
	f, err := p.every(depth)
	for err == nil && p.take("or") {
		var left, right filter = f, nil
		right, err = p.every(depth)
		f = func(ctx context.Context, o Object) bool { return left(ctx, o) || right(ctx, o) }
	}
	return f, err
}

func (p *filterParser) every(depth int) (filter, error) {
	f, err := p.one(depth)
	for err == nil && p.take("and") {
		var left, right filter = f, nil
		right, err = p.one(depth)
		f = func(ctx context.Context, o Object) bool { return left(ctx, o) && right(ctx, o) }
	}
	return f, err
}

func (p *filterParser) one(depth int) (filter, error) {
	if depth > maxFilterDepth {
		return nil, p.bad("fewer parentheses")
	}
	if p.take("not") {
		f, err := p.one(depth + 1)
		return func(ctx context.Context, o Object) bool { return !f(ctx, o) }, err
	}
	if strings.HasPrefix(p.skip(), "(") {
		p.rest = p.rest[1:]
		f, err := p.any(depth + 1)
		if err == nil && !strings.HasPrefix(p.skip(), ")") {
			return nil, p.bad("a closing parenthesis")
		}
		p.rest = strings.TrimPrefix(p.rest, ")")
		return f, err
	}
	return p.comparison()
}

func (p *filterParser) comparison() (filter, error) {
	p.skip()
	field := p.field()
	op := operator.FindString(p.skip())
	if field == "" || op == "" {
		return nil, p.bad("a field and an operator")
	}
	p.rest = p.rest[len(op):]
	value, ok := p.value()
	if !ok {
		return nil, p.bad("a value")
	}
	return compare(field, strings.ToLower(strings.TrimSpace(op)), value), nil
}

func (p *filterParser) field() string {
	if p.rest != "" && (p.rest[0] == '\'' || p.rest[0] == '"') {
		if i := strings.IndexByte(p.rest[1:], p.rest[0]); i >= 0 {
			f := p.rest[1 : i+1]
			p.rest = p.rest[i+2:]
			return f
		}
		return ""
	}
	n := fieldEnd(p.rest)
	f := p.rest[:n]
	p.rest = p.rest[n:]
	return f
}

func (p *filterParser) value() (string, bool) {
	s := p.rest
	if s == "" || s[0] != '\'' && s[0] != '"' {
		n := strings.IndexAny(s, " \t)")
		if n < 0 {
			n = len(s)
		}
		p.rest = s[n:]
		return s[:n], n > 0
	}
	for i := 1; i < len(s); i++ {
		if s[i] == s[0] && ends.MatchString(s[i+1:]) {
			p.rest = s[i+1:]
			return s[1:i], true
		}
	}
	return "", false
}

func compare(field, op, want string) filter {
	holds := comparer(op, want)
	return func(ctx context.Context, o Object) bool {
		return ctx.Err() == nil && holds(ctx, text(o.at(field)))
	}
}

func comparer(op, want string) func(ctx context.Context, have string) bool {
	switch op {
	case "matches", "like":
		return wildcard(want)
	case "=", "eq":
		return func(_ context.Context, have string) bool { return equal(have, want) }
	case "!=", "<>", "ne", "neq":
		return func(_ context.Context, have string) bool { return !equal(have, want) }
	}
	return func(_ context.Context, have string) bool {
		n := order(have, want)
		switch op {
		case "<", "lt":
			return n < 0
		case "<=", "le":
			return n <= 0
		case ">", "gt":
			return n > 0
		}
		return n >= 0
	}
}

func equal(have, want string) bool {
	return strings.EqualFold(have, want) || have == "" && strings.EqualFold(want, "null")
}

// wildcard finds the pieces between the wildcards one behind the other, each as
// early as it can be: a text is gone through once, however many there are.
func wildcard(want string) func(ctx context.Context, have string) bool {
	pieces := strings.Split(strings.ToLower(want), "%")
	first, last := pieces[0], pieces[len(pieces)-1]
	return func(ctx context.Context, have string) bool {
		have = strings.ToLower(have)
		if len(pieces) == 1 {
			return have == first
		}
		have, begins := strings.CutPrefix(have, first)
		have, closes := strings.CutSuffix(have, last)
		if !begins || !closes {
			return false
		}
		for _, piece := range pieces[1 : len(pieces)-1] {
			i := strings.Index(have, piece)
			if i < 0 || ctx.Err() != nil {
				return false
			}
			have = have[i+len(piece):]
		}
		return true
	}
}

// order compares numbers as such, and all else as texts.
func order(a, b string) int {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX == nil && errY == nil {
		return slices.Compare([]float64{x}, []float64{y})
	}
	return strings.Compare(strings.ToLower(a), strings.ToLower(b))
}
