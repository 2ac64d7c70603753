package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/sandbox/guest"
)

// TestPrepare: made once, found afterwards, made anew when an input changes, and
// then the old one is gone.
func TestPrepare(t *testing.T) {
	have, err := tools()
	require.NoError(t, err)
	o := testOptions(t.TempDir())
	o.Guest = writeFile(t, "one build")
	require.NoError(t, os.MkdirAll(filepath.Join(o.Dir, "making-1", "root"), 0o755)) // was cut off
	_, err = Find(t.Context(), o)
	require.ErrorIs(t, err, ErrNotPrepared)
	one, err := Prepare(t.Context(), o)
	require.NoError(t, err)
	require.NotEqual(t, have.Digest, one.Digest)
	found, err := Find(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, one, found)
	again, err := Prepare(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, one, again)

	require.NoError(t, os.WriteFile(o.Guest, []byte("another"), 0o600))
	_, err = Find(t.Context(), o)
	require.ErrorIs(t, err, ErrNotPrepared)
	two, err := Prepare(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Base(two.Image)}, entries(t, o.Dir))
	out, err := exec.Command("debugfs", "-R", "cat "+guest.Path, two.Image).Output()
	require.NoError(t, err)
	require.Equal(t, "another", string(out))
	fsck, err := exec.Command("e2fsck", "-fn", two.Image).CombinedOutput()
	require.NoError(t, err, "%s", fsck)
}

// TestSweep: what a Prepare left is removed by the next one, and nothing that one
// still works on.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "making-1", "root")
	require.NoError(t, os.MkdirAll(left, 0o755))
	image := filepath.Join(dir, imagePrefix+"1"+imageSuffix)
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	one, err := sweep(dir)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Base(image)}, entries(t, dir))
	require.NoError(t, os.MkdirAll(left, 0o755))
	two, err := sweep(dir)
	require.NoError(t, err)
	require.NoError(t, one.Close())
	three, err := sweep(dir)
	require.NoError(t, err)
	require.DirExists(t, left)
	require.NoError(t, two.Close())
	require.NoError(t, three.Close())
	last, err := sweep(dir)
	require.NoError(t, err)
	require.NoError(t, last.Close())
	require.NoDirExists(t, left)
}

func TestMissingParts(t *testing.T) {
	o := testOptions(t.TempDir())
	for _, missing := range []func(*Options){
		func(o *Options) { o.UML = "/no/such/kernel" },
		func(o *Options) { o.Modules = t.TempDir() },
		func(o *Options) { o.Guest = "" }, // not beside a test
	} {
		bad := o
		bad.Guest = writeFile(t, "guest")
		missing(&bad)
		_, err := Prepare(t.Context(), bad)
		require.ErrorIs(t, err, ErrMissing)
		require.NoDirExists(t, o.Dir)
	}
	bad := o
	bad.UML, bad.Guest = "/bin/true", writeFile(t, "guest")
	_, err := Prepare(t.Context(), bad)
	require.ErrorContains(t, err, "is it a User-Mode-Linux kernel?")
}

func TestWideState(t *testing.T) {
	t.Parallel()
	const intel = "processor\t: 0\nflags\t\t: fpu sse2 avx512f amx_tile\nbugs\t: x\n"
	require.True(t, hasWideState(intel))
	require.False(t, hasWideState("flags\t: fpu avx512f\n"))
	require.False(t, hasWideState(""))
	narrow, err := narrowState("6.13.2")
	require.NoError(t, err)
	require.False(t, narrow)
	_, err = narrowState("newest")
	require.Error(t, err)
}
