package attribute

import "strings"

// Placeholder is a place in a script where an attribute is used.
type Placeholder struct {
	Name       string
	Member     string // of a NIC or a system attribute, or ""
	Default    string
	HasDefault bool
	Start, End int // bytes of the script
}

// Full is the name with its member.
func (p Placeholder) Full() string { return full(p.Name, p.Member) }

func full(name, member string) string {
	if member == "" {
		return name
	}
	return name + "." + member
}

// Placeholders lists what has the form of a placeholder, whether or not an
// attribute of that name is known. They do not overlap.
func Placeholders(script string) []Placeholder {
	var found []Placeholder
	for at := 0; ; {
		i := strings.IndexByte(script[at:], '@')
		if i < 0 {
			return found
		}
		at += i
		p, ok := placeholderAt(script, at)
		if !ok {
			at++
			continue
		}
		found = append(found, p)
		at = p.End
	}
}

// placeholderAt reads @name@, @name.member@ or either with :default before the
// last @. It never reads beyond the next @ or the end of the line.
func placeholderAt(script string, at int) (p Placeholder, ok bool) {
	rest := script[at+1:]
	end := strings.IndexAny(rest, "@\n")
	if end < 1 || rest[end] == '\n' {
		return p, false
	}
	word, fallback, has := strings.Cut(rest[:end], ":")
	name, member, dotted := strings.Cut(word, ".")
	if !identifier(name) || dotted && !identifier(member) || len(word) > 2*MaxName {
		return p, false
	}
	return Placeholder{name, member, fallback, has, at, at + 1 + end + 1}, true
}

func identifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
