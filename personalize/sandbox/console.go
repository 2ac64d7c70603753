package sandbox

import (
	"bytes"
	"strings"
	"sync"
	"unicode"
)

// consoleSize is how much of the kernel's words is kept, the last ones.
const consoleSize = 16 << 10

// console keeps the end of what the kernel prints.
type console struct {
	mu  sync.Mutex
	buf []byte

	// panicked is called after the kernel said that it panics. After that it may
	// spin instead of ending.
	panicked func()
}

const panicWords = "Kernel panic - not syncing"

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(b)
	if n > consoleSize {
		b = b[n-consoleSize:]
	}
	c.buf = append(c.buf, b...)
	if over := len(c.buf) - consoleSize; over > 0 {
		c.buf = append(c.buf[:0], c.buf[over:]...)
	}
	if c.panicked != nil && bytes.Contains(c.buf, []byte(panicWords)) {
		c.panicked()
		c.panicked = nil
	}
	return n, nil
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return printable(string(c.buf))
}

// quote is the last lines, for an error message; of a panic, those up to it.
func (c *console) quote() string {
	text := c.String()
	if before, after, found := strings.Cut(text, panicWords); found {
		reason, _, _ := strings.Cut(after, "\n")
		text = before + panicWords + reason
	}
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	if len(lines) == 0 {
		return ""
	}
	const shown = 3
	return "; its last words: " + strings.Join(lines[max(0, len(lines)-shown):], " | ")
}

// printable makes text from a guest harmless to terminals and logs.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r':
			return -1
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}

// field is printable, for what has one line: a name, a label, a type.
func field(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
