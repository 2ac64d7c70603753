package attribute

import (
	"fmt"
	"math/big"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Normal returns text in the one form of the attribute's type, or says why it
// is no value of the attribute. The error does not have a password in it.
func (d Definition) Normal(text string) (string, error) {
	l, err := d.Constraints.read()
	if err != nil {
		return "", invalidf("constraints of attribute %q: %v", d.Name, err)
	}
	text, err = d.normal(text, l)
	if err == nil {
		return text, nil
	}
	shown := NewValue("", d.Type, text).Shown()
	if len(shown) > 200 {
		shown = shown[:200] + "…"
	}
	help := ""
	if l.Help != "" {
		help = " (" + string(l.Help) + ")"
	}
	return "", invalidf("attribute %q cannot be %q: %v%s", d.Name, shown, err, help)
}

func (d Definition) normal(text string, l limits) (string, error) {
	if err := plain(text, strings.EqualFold(string(l.Multiline), "true")); err != nil {
		return text, err
	}
	switch d.Type {
	case Password:
		return text, l.password(text)
	case String:
		return text, l.match(text)
	}
	text = strings.TrimSpace(text)
	switch d.Type {
	case Number:
		return l.number(text)
	case Option:
		return l.option(text)
	case IPv4:
		return ipv4(text)
	case Hostname, FQDN:
		return text, hostname(text)
	}
	return text, fmt.Errorf("it is a NIC: give its members, such as %s.ipaddress", d.Name)
}

// plain refuses what would begin another line of a script.
func plain(text string, lines bool) error {
	if len(text) > MaxValue {
		return fmt.Errorf("it has %d bytes, %d are allowed", len(text), MaxValue)
	}
	if !utf8.ValidString(text) {
		return fmt.Errorf("it is no UTF-8 text")
	}
	for _, r := range text {
		if r == '\n' && lines || r == '\t' {
			continue
		}
		if r < ' ' || r == 0x7f {
			return fmt.Errorf("it has the control character %U; line feeds need the constraint \"multiline\"", r)
		}
	}
	return nil
}

func (l limits) match(text string) error {
	re, err := l.pattern()
	if err != nil {
		return err
	}
	if re != nil && !re.MatchString(text) {
		return fmt.Errorf("it does not match %s", string(l.Regex))
	}
	return nil
}

func (l limits) password(text string) error {
	n := utf8.RuneCountInString(text)
	if least, err := strconv.Atoi(string(l.MinLen)); err == nil && n < least {
		return fmt.Errorf("it needs at least %d characters", least)
	}
	if most, err := strconv.Atoi(string(l.MaxLen)); err == nil && n > most {
		return fmt.Errorf("it may have at most %d characters", most)
	}
	re, err := l.characters()
	if err != nil {
		return err
	}
	if re != nil && !re.MatchString(text) {
		return fmt.Errorf("it may have only the characters %s", string(l.AllowedChars))
	}
	return nil
}

func (l limits) number(text string) (string, error) {
	n, err := number(text)
	if err != nil {
		return text, fmt.Errorf("it is %v", err)
	}
	base := new(big.Rat)
	if least, err := number(string(l.Minimum)); err == nil {
		if n.Cmp(least) < 0 {
			return text, fmt.Errorf("the minimum is %s", string(l.Minimum))
		}
		base = least
	}
	if most, err := number(string(l.Maximum)); err == nil && n.Cmp(most) > 0 {
		return text, fmt.Errorf("the maximum is %s", string(l.Maximum))
	}
	if step, err := number(string(l.Increment)); err == nil && step.Sign() > 0 {
		over := new(big.Rat).Sub(n, base)
		if !over.Quo(over, step).IsInt() {
			return text, fmt.Errorf("it must be %s plus a multiple of %s", base.RatString(), string(l.Increment))
		}
	}
	return canonical(n), nil
}

// canonical writes a decimal number without needless zeros.
func canonical(n *big.Rat) string {
	if n.IsInt() {
		return n.Num().String()
	}
	digits, _ := n.FloatPrec() // exact: the number was decimal
	return n.FloatString(digits)
}

// option takes the spelling of the list where only case differs.
func (l limits) option(text string) (string, error) {
	like := []string{}
	for _, o := range l.Options {
		switch {
		case string(o) == text:
			return text, nil
		case strings.EqualFold(string(o), text):
			like = append(like, string(o))
		}
	}
	if len(like) == 1 {
		return like[0], nil
	}
	return text, fmt.Errorf("it must be one of %s", list(l.Options))
}

func ipv4(text string) (string, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return text, fmt.Errorf("it is no IPv4 address, such as 192.0.2.10")
	}
	return a.String(), nil
}

var hostLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// hostname checks a host's name, with or without its domain. {profile} in it
// stands for the name of the server profile.
func hostname(text string) error {
	text = strings.TrimSuffix(strings.ReplaceAll(text, ProfileToken, "p"), ".")
	if len(text) > 253 {
		return fmt.Errorf("it is longer than 253 characters")
	}
	for _, label := range strings.Split(text, ".") {
		if !hostLabel.MatchString(label) {
			return fmt.Errorf("its part %.70q is no host name: use 1 to 63 letters, digits and hyphens, no hyphen at the ends", label)
		}
	}
	return nil
}
