package personalize

import (
	"math"
	"strconv"
	"strings"

	"goldstream/personalize/attribute"
)

// ParseSize reads the size of a volume: a whole number of bytes, or with KiB,
// MiB, GiB or TiB. "" is 0.
func ParseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	digits, factor := strings.TrimSpace(text), int64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if rest, ok := strings.CutSuffix(digits, unit); ok {
			digits, factor = strings.TrimSpace(rest), int64(1)<<(10*(i+1))
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/factor {
		return 0, attribute.Invalid("%.64q is no size: write 40GiB, 512MiB or a number of bytes", text)
	}
	return n * factor, nil
}
