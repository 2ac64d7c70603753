package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"goldstream/jail"
)

// convertTmp is where conversions of the tests keep their sockets.
var convertTmp string

// The tests have a directory for temporary files of their own: they look for what
// an import leaves there, while other packages' tests import, too.
func TestMain(m *testing.M) {
	jail.MaybeInit()
	dir, err := os.MkdirTemp("", "daemon-test-")
	if err == nil {
		err = os.Setenv("TMPDIR", dir)
		convertTmp = filepath.Join(dir, strings.Repeat("long", 20), "tmp") // no room in a socket's address
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}
