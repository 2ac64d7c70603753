package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// unit is a suffix of sizes.
type unit struct {
	suffix string
	bytes  float64
}

// units are tried in this order: longer suffixes first. A bare letter is
// binary, as truncate and qemu-img have it.
func units() []unit {
	list := []unit{}
	for i, letter := range []string{"k", "m", "g", "t", "p"} {
		binary, decimal := math.Pow(1024, float64(i+1)), math.Pow(1000, float64(i+1))
		list = append(list, unit{letter + "ib", binary}, unit{letter + "b", decimal}, unit{letter, binary})
	}
	return append(list, unit{"b", 1}, unit{"", 1})
}

// parseSize reads sizes such as 40GiB, 1.5TiB, 512MB, 8G and 1048576.
func parseSize(s string) (int64, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	for _, u := range units() {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		return sizeOf(s, strings.TrimSpace(number), u.bytes)
	}
	return 0, sizeError(s)
}

func sizeOf(s, number string, factor float64) (int64, error) {
	if strings.Trim(number, "0123456789.") != "" { // no sign, no 1e9, no inf
		return 0, sizeError(s)
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		f := int64(factor)
		if n > math.MaxInt64/f {
			return 0, sizeTooLarge(s)
		}
		return n * f, nil
	}
	x, err := strconv.ParseFloat(number, 64)
	bytes := x * factor
	if bytes >= math.MaxInt64 {
		return 0, sizeTooLarge(s)
	}
	if err != nil || bytes != math.Trunc(bytes) {
		return 0, sizeError(s)
	}
	return int64(bytes), nil
}

func sizeError(s string) error {
	return usagef("%q is no size: write bytes or a number with a unit, such as 40GiB, 512MiB, 1TiB or 10GB", s)
}

func sizeTooLarge(s string) error { return usagef("%q is too large: a disk has 1PiB at most", s) }

// humanSize writes bytes with a binary unit.
func humanSize(n int64) string {
	const names = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	x, i := float64(n)/1024, 0
	for x >= 1023.95 && i < len(names)-1 {
		x, i = x/1024, i+1
	}
	text := strings.TrimSuffix(fmt.Sprintf("%.1f", x), ".0")
	return text + " " + names[i:i+1] + "iB"
}
