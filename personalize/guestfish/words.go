package guestfish

import (
	"fmt"
	"strconv"
	"strings"

	"goldstream/personalize/attribute"
)

// maxWords is how many arguments guestfish takes.
const maxWords = 63

// word is one argument of a line.
type word struct {
	text       string // without quotes and escapes
	quoted     bool
	secret     bool // it has bytes of a secret
	start, end int  // bytes of the line, with quotes
}

// shown is the word in quotes for people, cut after some bytes. It is a mask
// as a whole if a part is secret: what is cut or escaped cannot be masked later.
func (w word) shown(most int) string {
	if w.secret {
		return strconv.Quote(attribute.Mask)
	}
	return fmt.Sprintf("%.*q", most, w.text)
}

// fault is what is wrong at a byte of a line.
type fault struct {
	at   int
	text string
}

// split reads the arguments of a command from line[at:]. What follows a | that
// begins an argument is the pipe; -1 says there is none.
func split(line string, at int) (words []word, pipe int, bad *fault) {
	for {
		for at < len(line) && blank(line[at]) {
			at++
		}
		switch {
		case at == len(line):
			return words, -1, nil
		case line[at] == '|':
			return words, at + 1, nil
		case len(words) == maxWords:
			return nil, -1, &fault{at, fmt.Sprintf("more than %d arguments", maxWords)}
		}
		w, bad := wordAt(line, at)
		if bad != nil {
			return nil, -1, bad
		}
		words = append(words, w)
		at = w.end
	}
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

func wordAt(line string, at int) (w word, bad *fault) {
	w = word{start: at, quoted: true}
	switch line[at] {
	case '"':
		w.text, w.end, bad = quoted(line, at)
	case '\'':
		n := strings.IndexByte(line[at+1:], '\'')
		if n < 0 {
			return w, &fault{at, "the single quote has no end"}
		}
		w.text, w.end = line[at+1:at+1+n], at+n+2
	default:
		n := strings.IndexAny(line[at:], " \t")
		if n < 0 {
			n = len(line) - at
		}
		w.text, w.end, w.quoted = line[at:at+n], at+n, false
	}
	if bad == nil && w.end < len(line) && !blank(line[w.end]) {
		return w, &fault{w.end, "a blank must follow the closing quote; a quote within an argument needs the other kind of quotes around"}
	}
	return w, bad
}

// quoted reads "…" with escapes as in C.
func quoted(line string, at int) (text string, end int, bad *fault) {
	var out strings.Builder
	for i := at + 1; i < len(line); i++ {
		switch line[i] {
		case '"':
			return out.String(), i + 1, nil
		case '\\':
			c, n, ok := escape(line[i+1:])
			if !ok {
				return "", 0, &fault{i, `an unknown escape: use \\ \a \b \f \n \r \t \v \" \' \? \ooo (octal) or \xhh`}
			}
			out.WriteByte(c)
			i += n
		default:
			out.WriteByte(line[i])
		}
	}
	return "", 0, &fault{at, "the double quote has no end"}
}

const (
	escapes = `\abfnrtv"'?`
	meant   = "\\\a\b\f\n\r\t\v\"'?"
)

// escape reads what follows a backslash, and how long that is.
func escape(s string) (c byte, n int, ok bool) {
	if s == "" {
		return 0, 0, false
	}
	if i := strings.IndexByte(escapes, s[0]); i >= 0 {
		return meant[i], 1, true
	}
	if len(s) >= 3 && s[0] == 'x' {
		hi, lo := digit(s[1]), digit(s[2])
		return byte(hi<<4 | lo), 3, hi < 16 && lo < 16
	}
	if len(s) >= 3 {
		a, b, c := digit(s[0]), digit(s[1]), digit(s[2])
		return byte(a<<6 | b<<3 | c), 3, a < 4 && b < 8 && c < 8
	}
	return 0, 0, false
}

// digit is the value of a hexadecimal digit, or 255.
func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return 255
}
