package daemon

import (
	"testing"

	"go.uber.org/goleak"

	"goldstream/jail"
)

func TestMain(m *testing.M) {
	jail.MaybeInit()
	goleak.VerifyTestMain(m)
}
