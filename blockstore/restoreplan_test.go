package blockstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func simOptions(d *simDisk) Options {
	o := testOptions()
	o.fs, o.bootID, o.ringSize = simFS{d}, "1", simRing
	return o
}

// simRestorable makes a store on a simulated disk with a checkpoint that has the
// volume v, after which w was made and written to. It returns a dump of that
// moment too.
func simRestorable(t *testing.T, disk *simDisk) (dump []byte) {
	t.Helper()
	s, err := Open(crashDir, simOptions(disk))
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	require.NoError(t, d.Close())
	_, err = s.Checkpoint(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	var b bytes.Buffer
	_, err = Dump(ctx, crashDir, simOptions(disk), &b)
	require.NoError(t, err)
	s, err = Open(crashDir, simOptions(disk))
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "w", Size: 1 << 20})
	require.NoError(t, err)
	w := openVolume(t, s, "w")
	require.NoError(t, w.WriteAt(ctx, block(2), 0, true))
	finish(t, s, w)
	return b.Bytes()
}

// requireOneOfBoth opens the store and finds all of the old metadata or all of
// the restored, and nothing half-made. It reports which.
func requireOneOfBoth(t *testing.T, disk *simDisk, at string) (restored bool) {
	t.Helper()
	s, err := Open(crashDir, simOptions(disk))
	require.NoError(t, err, at)
	v := openVolume(t, s, "v")
	require.EqualValues(t, 1, firstByte(t, v, 0), at)
	_, err = s.Volume(ctx, "w")
	if restored = errors.Is(err, ErrNotFound); !restored {
		w := openVolume(t, s, "w")
		require.EqualValues(t, 2, firstByte(t, w, 0), at)
		require.NoError(t, w.Close())
	}
	info, err := s.Volume(ctx, "v")
	require.NoError(t, err)
	require.Equal(t, restored, info.Epoch > 0, at)
	finish(t, s, v)
	names, err := simFS{disk}.List(crashDir)
	require.NoError(t, err)
	aside := ""
	for _, name := range names {
		require.False(t, strings.HasPrefix(name, "restoring") || name == "meta.restoring", "%s: %q", at, names)
		if strings.HasPrefix(name, "before-restore-") {
			require.Empty(t, aside, at)
			aside = name
		}
	}
	require.Equal(t, restored, aside != "", at)
	if restored {
		kept, err := simFS{disk}.List(crashDir + "/" + aside)
		require.NoError(t, err)
		require.Contains(t, kept, "meta", at)
		require.Contains(t, kept, "layers", at)
	}
	report, err := CheckStore(ctx, crashDir, simOptions(disk))
	require.NoError(t, err)
	require.Empty(t, report.Findings, at)
	return restored
}

// TestOpenFinishesARestore that was cut off, wherever that was, and itself too.
func TestOpenFinishesARestore(t *testing.T) {
	req := RestoreRequest{Checkpoint: "latest", Apply: true}
	for name, restore := range map[string]func(disk *simDisk, dump []byte) error{
		"checkpoint": func(disk *simDisk, _ []byte) error {
			_, err := RestoreCheckpoint(ctx, crashDir, simOptions(disk), req)
			return err
		},
		"dump": func(disk *simDisk, dump []byte) error {
			_, err := RestoreDump(ctx, crashDir, simOptions(disk), bytes.NewReader(dump), req)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := newHost(1)
			dump := simRestorable(t, base)
			old, restored := 0, 0
			one := func(n int, power bool) (cut, plan bool) {
				at := fmt.Sprintf("%s cut at %d, power %v", name, n, power)
				disk := base.copy(uint64(n))
				disk.arm(n, power)
				err := restore(disk, dump)
				if disk.crashed() == nil {
					require.NoError(t, err)
					require.True(t, requireOneOfBoth(t, disk, at))
					return false, false
				}
				disk = disk.crashed()
				b, err := simFS{disk}.ReadFile(crashDir + "/restoring")
				if plan = err == nil && len(b) > 0; plan {
					requireFinishedThoughCutOff(t, disk, n, power)
				}
				if requireOneOfBoth(t, disk, at) {
					restored++
				} else {
					old++
				}
				return true, plan
			}
			for n, cut, plan := 1, true, false; cut; {
				if cut, plan = one(n, n%2 == 0); !plan {
					n += 3 // the old metadata stands
					if testing.Short() {
						n += 4
					}
					continue
				}
				if testing.Short() {
					n += 2
				} else {
					one(n, n%2 != 0)
				}
				n++
			}
			require.Positive(t, old)
			require.Greater(t, restored, 3, "cut after the plan was made")
			t.Logf("%d times the old metadata, %d times the restored", old, restored)
		})
	}
}

// requireFinishedThoughCutOff cuts off the finishing too, at several points.
func requireFinishedThoughCutOff(t *testing.T, disk *simDisk, n int, power bool) {
	t.Helper()
	for m := 1 + n%5; m < 40; m += 8 {
		again := disk.copy(uint64(m))
		again.arm(m, power)
		s, err := Open(crashDir, simOptions(again))
		if err == nil {
			s.kill()
		}
		next := again.crashed()
		if next == nil {
			require.NoError(t, err)
			return
		}
		require.True(t, requireOneOfBoth(t, next, fmt.Sprintf("cut at %d, and again at %d", n, m)))
	}
}

// planned leaves a store with a plan from which nothing was moved yet.
func planned(t *testing.T, change func(*restorePlan)) string {
	t.Helper()
	dir := t.TempDir()
	oldAndNew(t, dir)
	s, err := openOffline(dir, testOptions())
	require.NoError(t, err)
	var r RestoreReport
	r.Checkpoint, err = s.findCheckpoint("latest")
	require.NoError(t, err)
	r.Present, err = s.witnessed()
	require.NoError(t, err)
	path := filepath.Join(s.checkpointsDir(), r.Checkpoint.Name)
	require.NoError(t, s.weigh(ctx, path, RestoreRequest{Apply: true, AcceptMissing: true}, "", &r))
	require.NoError(t, s.copyMeta(path, s.freshMeta()))
	require.NoError(t, s.write(s.freshMeta(), restartedFor("it was restored"), r.Present+1))
	p := newRestorePlan("a test", r.Strays, r.Present)
	change(&p)
	b, err := json.Marshal(p)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.planPath(), b, 0o600))
	require.NoError(t, s.close())
	return dir
}

func TestAPlanIsCarriedOut(t *testing.T) {
	dir := planned(t, func(*restorePlan) {})
	report, err := CheckStore(ctx, dir, testOptions())
	require.NoError(t, err)
	require.Contains(t, report.Findings, Finding{
		Severity: SeverityWarning, Kind: FindRestore, Where: filepath.Join(dir, "restoring"),
		What: "a restore of the metadata was cut off, and is finished when the store is opened next: what it puts in place was checked",
	})
	require.FileExists(t, filepath.Join(dir, "restoring"), "a check changes nothing")
	requireRestored(t, dir)
	require.NoFileExists(t, filepath.Join(dir, "restoring"))
}

// TestAPlanIsFinishedBeforeOtherWork on a store that nobody has open.
func TestAPlanIsFinishedBeforeOtherWork(t *testing.T) {
	dir := planned(t, func(*restorePlan) {})
	dump := string(dumped(t, dir))
	require.Contains(t, dump, "it was restored")
	require.NoDirExists(t, filepath.Join(dir, "meta.restoring"))
}

// TestAPlanThatIsVoid: another program has opened the store, and it went on.
func TestAPlanThatIsVoid(t *testing.T) {
	dir := planned(t, func(p *restorePlan) { p.Present-- })
	s := openStore(t, dir)
	d := openVolume(t, s, "w")
	require.EqualValues(t, 6, firstByte(t, d, 0), "the metadata that was in service")
	finish(t, s, d)
	for _, left := range []string{"restoring", "meta.restoring"} {
		require.NoFileExists(t, filepath.Join(dir, left))
		require.NoDirExists(t, filepath.Join(dir, left))
	}
}

// TestABadPlanIsRefused, and nothing is moved by it.
func TestABadPlanIsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*restorePlan)
		err    error
		says   string
	}{
		"no format":       {func(p *restorePlan) { p.Format = 0 }, ErrCorrupt, "damaged"},
		"newer format":    {func(p *restorePlan) { p.Format = 2 }, ErrFormat, "format 2"},
		"aside elsewhere": {func(p *restorePlan) { p.Aside = "../x" }, ErrCorrupt, "damaged"},
		"layer elsewhere": {func(p *restorePlan) { p.Layers = []string{"../meta"} }, ErrCorrupt, `"../meta"`},
		"layer ..":        {func(p *restorePlan) { p.Layers = []string{".."} }, ErrCorrupt, `".."`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := planned(t, row.change)
			_, err := Open(dir, testOptions())
			require.ErrorIs(t, err, row.err)
			require.ErrorContains(t, err, row.says)
			require.DirExists(t, filepath.Join(dir, "meta"))
			require.NoError(t, os.Remove(filepath.Join(dir, "restoring")))
			s := openStore(t, dir)
			_, err = s.Volume(ctx, "w")
			require.NoError(t, err)
			require.NoError(t, s.Close())
		})
	}
	dir := planned(t, func(*restorePlan) {})
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "meta")))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "meta.restoring")))
	_, err := Open(dir, testOptions())
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "run the restore again")
	require.NoError(t, os.Remove(filepath.Join(dir, "restoring")))
	report, err := RestoreCheckpoint(ctx, dir, testOptions(), RestoreRequest{Checkpoint: "latest", Apply: true, AcceptMissing: true})
	require.NoError(t, err)
	require.True(t, report.Done, "as it says")
}

// TestAPlanThatTheDiskRefuses is carried out when the disk allows it.
func TestAPlanThatTheDiskRefuses(t *testing.T) {
	base := newHost(1)
	simRestorable(t, base)
	fired := 0
	for _, below := range []string{"/before-restore-", crashDir + "/layers", crashDir + "/rings", crashDir + "/restoring"} {
		for _, op := range []simOp{simRename, simSyncDir, simMkdir, simRemove, simList} {
			for after := 0; ; after++ {
				disk := base.copy(uint64(after))
				f := disk.inject(&simFault{ops: op, below: below, after: after, err: unix.ENOSPC})
				req := RestoreRequest{Checkpoint: "latest", Apply: true}
				_, err := RestoreCheckpoint(ctx, crashDir, simOptions(disk), req)
				if !f.fired {
					require.NoError(t, err)
					break
				}
				fired++
				disk.heal()
				if names, _ := (simFS{disk}).List(crashDir); err != nil && slices.Contains(names, "restoring") {
					require.ErrorContains(t, err, "the next open of the store finishes it")
					require.ErrorIs(t, err, unix.ENOSPC)
					require.True(t, requireOneOfBoth(t, disk, below), "as it says")
					continue
				}
				require.True(t, requireOneOfBoth(t, disk, below) || err != nil)
			}
		}
	}
	require.Greater(t, fired, 8)
}
