package daemon

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"goldstream/jail"
)

// The tests have a directory for temporary files of their own: they look for what
// an import leaves there, while other packages' tests import, too.
func TestMain(m *testing.M) {
	jail.MaybeInit()
	dir, err := os.MkdirTemp("", "daemon-test-")
	if err == nil {
		err = os.Setenv("TMPDIR", dir)
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
