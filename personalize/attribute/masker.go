package attribute

import (
	"slices"
	"strings"
)

// Masker hides secrets in text that did not come from this package.
type Masker struct{ secrets []string }

// NewMasker hides the secrets given, and each line of those with several.
func NewMasker(secrets []string) *Masker {
	m := &Masker{}
	for _, s := range secrets {
		m.secrets = append(m.secrets, s)
		m.secrets = append(m.secrets, strings.Split(s, "\n")...)
	}
	m.secrets = slices.DeleteFunc(m.secrets, func(s string) bool { return strings.TrimSpace(s) == "" })
	// The longest first: one may be a part of another.
	slices.SortFunc(m.secrets, func(a, b string) int { return len(b) - len(a) })
	return m
}

// Mask returns text, which must have whole lines, with a mask for each secret.
// A secret of three bytes or less is hidden too, though text may have its
// letters by chance.
func (m *Masker) Mask(text string) string {
	for _, s := range m.secrets {
		text = strings.ReplaceAll(text, s, Mask)
	}
	return text
}
