package blockstore

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var (
	powerCuts = flag.Int("power.cuts", 0, "cut the power so often on each file system; 0: not at all")
	powerSeed = flag.Uint64("power.seed", 0, "seed of what is written until the cuts, and when they come")
)

const (
	powerSize    = 16 << 20
	powerSector  = 512
	powerSectors = powerSize / powerSector
)

var powerVolumes = []string{"v", "w"}

// TestPowerCuts: a process writes to a store on a real journaling file system,
// which is shut down in the middle: what the file system and its journal have
// not written by then is gone, as in a power cut. After each, everything that
// was flushed is there, and each sector is as flushed or as written since.
//
// The process logs beside that file system what it is about to write and what
// was flushed; the log outlives it.
func TestPowerCuts(t *testing.T) {
	if dir := os.Getenv("GOLDSTREAM_TEST_POWER"); dir != "" {
		writeUntilTheCut(t, dir)
	}
	cuts, seed := *powerCuts, *powerSeed
	if cuts == 0 {
		// What is shut down goes only when no mount namespace has it any more,
		// and those that jails and containers make meanwhile may.
		t.Skip("needs a mount namespace of its own: make test-power")
	}
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	for name, mkfs := range map[string][]string{
		"ext4": {"mkfs.ext4", "-q", "-F"},
		"xfs":  {"mkfs.xfs", "-q", "-f"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Logf("-power.seed=%d", seed)
			p := newPowerRun(t, mkfs, seed)
			for p.round = 1; p.round <= cuts; p.round++ {
				p.writeAndCut()
				p.check()
			}
			t.Logf("%d cuts, %d writes begun, %d flushes acknowledged, %d clones", cuts, p.writes, p.flushes, p.clones)
		})
	}
}

// powerState is what a sector may hold: the stamp that was last known durable,
// or one that was written since. Zero stands for no data.
type powerState struct {
	durable uint64
	since   []uint64
}

type powerRun struct {
	t              *testing.T
	rng            *rand.Rand
	seed           uint64
	disk           *cutDisk
	dir, log       string
	round          int
	state          map[string][]powerState
	epochs         map[string]uint64
	flushed        map[string]bool // in this round
	names          []string        // of clones that were acknowledged
	writes         int
	flushes        int
	clones         int
	buf, sectorBuf []byte
}

func newPowerRun(t *testing.T, mkfs []string, seed uint64) *powerRun {
	p := &powerRun{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), seed: seed, disk: newCutDisk(t, mkfs), log: filepath.Join(t.TempDir(), "log"),
		state: map[string][]powerState{}, epochs: map[string]uint64{}, buf: make([]byte, powerSize), sectorBuf: make([]byte, powerSector),
	}
	p.dir = filepath.Join(p.disk.dir, "blocks")
	s, err := Open(p.dir, powerOptions("first"))
	require.NoError(t, err)
	golden := make([]byte, powerSize)
	for i := range powerSectors {
		stampSector(golden[i*powerSector:][:powerSector], i, 1)
	}
	importBytes(t, s, "golden", golden)
	for _, name := range powerVolumes {
		_, err := s.CreateVolume(ctx, CloneRequest{Name: name, Image: "golden"})
		require.NoError(t, err)
		p.state[name] = make([]powerState, powerSectors)
		for i := range p.state[name] {
			p.state[name][i].durable = 1
		}
	}
	require.NoError(t, s.Close())
	return p
}

func powerOptions(boot string) Options {
	o := testOptions()
	o.bootID, o.CommitInterval, o.CommitBytes = boot, 20*time.Millisecond, 1<<20
	return o
}

// stampSector fills a sector with what says where it was written, and when.
func stampSector(b []byte, sector int, stamp uint64) {
	binary.LittleEndian.PutUint64(b, stamp)
	binary.LittleEndian.PutUint64(b[8:], uint64(sector))
	for n := 16; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// writeAndCut runs the writing process until its log has some length.
func (p *powerRun) writeAndCut() {
	t := p.t
	require.NoError(t, os.WriteFile(p.log, nil, 0o600))
	cmd := exec.Command(os.Args[0], "-test.run=^TestPowerCuts$")
	cmd.Env = append(os.Environ(), "GOLDSTREAM_TEST_POWER="+p.dir, "GOLDSTREAM_TEST_LOG="+p.log,
		fmt.Sprintf("GOLDSTREAM_TEST_ROUND=%d %d", p.round, p.seed))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	enough := int64(64 + p.rng.IntN(64<<10))
	for since := time.Now(); ; time.Sleep(time.Millisecond) {
		st, err := os.Stat(p.log)
		require.NoError(t, err)
		if st.Size() >= enough {
			break
		}
		select {
		case err := <-gone:
			require.FailNow(t, "the writer ended before the cut", "%v: %s", err, out.String())
		default:
		}
		require.Less(t, time.Since(since), 4*waitLong, "the writer does not write")
	}
	p.disk.cut(1 + uint32(p.rng.IntN(4)+2)/3) // with the journal's buffers flushed, or mostly not
	if p.rng.IntN(2) == 0 {
		select { // it finds out by itself; what it takes for flushed then must be
		case <-gone:
			gone <- nil
		case <-time.After(waitLong / 3):
		}
	}
	_ = cmd.Process.Kill()
	<-gone
	p.disk.again()
	p.readLog()
}

// readLog adds to the state what was written and what was flushed.
func (p *powerRun) readLog() {
	f, err := os.Open(p.log)
	require.NoError(p.t, err)
	defer f.Close()
	p.flushed = map[string]bool{}
	begun := map[string]map[int]bool{} // sectors written since the last flush
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var first, n int
		var stamp uint64
		fields := strings.Fields(lines.Text())
		require.GreaterOrEqual(p.t, len(fields), 2)
		volume, what := fields[0], fields[1]
		sectors := p.state[volume]
		switch what {
		case "begin", "durable":
			_, err := fmt.Sscan(strings.Join(fields[2:], " "), &first, &n, &stamp)
			require.NoError(p.t, err)
			for i := first; i < first+n; i++ {
				if what == "durable" {
					sectors[i] = powerState{durable: stamp}
					continue
				}
				sectors[i].since = append(sectors[i].since, stamp)
				if begun[volume] == nil {
					begun[volume] = map[int]bool{}
				}
				begun[volume][i] = true
			}
			if what == "begin" {
				p.writes++
			}
		case "flushed":
			for i := range begun[volume] {
				if since := sectors[i].since; len(since) > 0 {
					sectors[i] = powerState{durable: since[len(since)-1]}
				}
			}
			delete(begun, volume)
			p.flushed[volume] = true
			p.flushes++
		case "cloned":
			p.names = append(p.names, fields[2])
			p.clones++
		default:
			require.FailNow(p.t, "unknown line", lines.Text())
		}
	}
	require.NoError(p.t, lines.Err())
}

// check opens the store in a new boot of the host and compares. What is found
// is durable from then on.
func (p *powerRun) check() {
	t := p.t
	s, err := Open(p.dir, powerOptions(fmt.Sprintf("check-%d", p.round)))
	require.NoError(t, err, "cut %d", p.round)
	defer s.Close()
	img, err := s.OpenImage(ctx, "golden")
	require.NoError(t, err)
	require.NoError(t, img.ReadAt(ctx, p.buf, 0))
	for i := range powerSectors {
		require.EqualValues(t, 1, p.stampOf(i, "golden"))
	}
	require.NoError(t, img.Close())
	for _, name := range powerVolumes {
		d, err := s.OpenVolume(ctx, name)
		require.NoError(t, err, "cut %d", p.round)
		require.NoError(t, d.ReadAt(ctx, p.buf, 0))
		for i := range p.state[name] {
			sector, stamp := &p.state[name][i], p.stampOf(i, name)
			if stamp != sector.durable {
				require.Contains(t, sector.since, stamp, "cut %d: sector %d of %s; %d was durable", p.round, i, name, sector.durable)
			}
			*sector = powerState{durable: stamp}
		}
		require.NoError(t, d.Close())
		info, err := s.Volume(ctx, name)
		require.NoError(t, err)
		if p.flushed[name] {
			require.Greater(t, info.Epoch, p.epochs[name], "cut %d: who lived on is refused", p.round)
		}
		p.epochs[name] = info.Epoch
	}
	for _, name := range p.names {
		_, err := s.Volume(ctx, name)
		require.NoError(t, err, "cut %d: it was acknowledged", p.round)
		require.NoError(t, s.DeleteVolume(ctx, name, ""))
	}
	p.names = nil
	require.NoError(t, s.Close())
}

// stampOf returns the stamp that a sector of what was read has, which must be
// whole and of that place.
func (p *powerRun) stampOf(sector int, name string) uint64 {
	got := p.buf[sector*powerSector:][:powerSector]
	stamp := binary.LittleEndian.Uint64(got)
	clear(p.sectorBuf)
	if stamp != 0 {
		stampSector(p.sectorBuf, sector, stamp)
	}
	require.True(p.t, bytes.Equal(p.sectorBuf, got), "cut %d: sector %d of %s is torn or of another place: %x", p.round, sector, name, got[:32])
	return stamp
}

// writeUntilTheCut is the writing process. It ends at the first error.
func writeUntilTheCut(t *testing.T, dir string) {
	var round, seed uint64
	_, err := fmt.Sscan(os.Getenv("GOLDSTREAM_TEST_ROUND"), &round, &seed)
	require.NoError(t, err)
	log, err := os.OpenFile(os.Getenv("GOLDSTREAM_TEST_LOG"), os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	s, err := Open(dir, powerOptions(fmt.Sprintf("boot-%d", round)))
	require.NoError(t, err)
	var all sync.WaitGroup
	for i, name := range powerVolumes {
		w := &powerWriter{name: name, log: log, d: openVolume(t, s, name), rng: rand.New(rand.NewPCG(seed, round<<8+uint64(i))), stamp: round<<32 + 2}
		all.Go(func() { exitWith(w.run()) })
	}
	all.Go(func() { exitWith(cloneAll(s, log, round)) })
	all.Wait()
}

func exitWith(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(3)
}

// cloneAll makes some clones and then waits for the end of the process.
func cloneAll(s *Store, log io.Writer, round uint64) error {
	for i := range 50 {
		name := fmt.Sprintf("c%d-%d", round, i)
		if _, err := s.CreateVolume(ctx, CloneRequest{Name: name, Image: "golden"}); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(log, "- cloned %s\n", name); err != nil {
			return err
		}
	}
	select {}
}

type powerWriter struct {
	name  string
	log   io.Writer
	d     *Disk
	rng   *rand.Rand
	stamp uint64
	buf   [64 * powerSector]byte
}

func (w *powerWriter) run() error {
	for {
		if err := w.step(context.Background()); err != nil {
			return err
		}
	}
}

func (w *powerWriter) step(ctx context.Context) error {
	kind := w.rng.IntN(40)
	if kind < 3 {
		if err := w.d.Flush(ctx); err != nil {
			return err
		}
		return w.note("flushed")
	}
	n := 1 + w.rng.IntN(64)
	first := w.rng.IntN(powerSectors - n)
	if w.rng.IntN(3) == 0 {
		first %= 512 // some are written again and again
	}
	if kind < 32 { // whole blocks, as file systems do
		first, n = first&^7, (n+7)&^7
	}
	if first+n > powerSectors {
		return nil
	}
	fua := kind == 39
	off, length := int64(first*powerSector), int64(n*powerSector)
	stamp := uint64(0)
	if kind >= 6 {
		w.stamp++
		stamp = w.stamp
	}
	if err := w.note("begin", first, n, stamp); err != nil {
		return err
	}
	var err error
	if stamp == 0 {
		err = w.d.Trim(ctx, off, length, fua)
	} else {
		for i := range n {
			stampSector(w.buf[i*powerSector:][:powerSector], first+i, stamp)
		}
		err = w.d.WriteAt(ctx, w.buf[:length], off, fua)
	}
	if err == nil && fua {
		err = w.note("durable", first, n, stamp)
	}
	return err
}

// note writes a line; nothing is noted after an error of what it tells of.
func (w *powerWriter) note(what string, args ...any) error {
	_, err := fmt.Fprintln(w.log, append([]any{w.name, what}, args...)...)
	return err
}

// cutDisk is a file system on a loop device that can be shut down.
type cutDisk struct {
	t           *testing.T
	device, dir string
}

func newCutDisk(t *testing.T, mkfs []string) *cutDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, loopSize))
	command(t, mkfs[0], append(mkfs[1:], image)...)
	out, err := exec.Command("losetup", "-f", "--show", image).CombinedOutput()
	require.NoError(t, err, "losetup: %s", out)
	c := &cutDisk{t: t, device: strings.TrimSpace(string(out)), dir: dir}
	t.Cleanup(func() {
		_ = exec.Command("umount", "-l", dir).Run()
		command(t, "losetup", "-d", c.device)
	})
	command(t, "mount", c.device, dir)
	return c
}

// cut shuts the file system down: XFS_IOC_GOINGDOWN, which is EXT4_IOC_SHUTDOWN
// too. how 1 flushes its log first, 2 does not.
func (c *cutDisk) cut(how uint32) {
	c.t.Helper()
	d, err := os.Open(c.dir)
	require.NoError(c.t, err)
	defer d.Close()
	const goingDown = 0x8004587d
	require.NoError(c.t, unix.IoctlSetPointerInt(int(d.Fd()), goingDown, int(how)))
}

// again mounts the file system anew, which replays its journal. Where another
// process holds the old one for a moment, for it was started meanwhile or has
// a mount namespace of its own, it is tried again.
func (c *cutDisk) again() {
	c.t.Helper()
	var out []byte
	for since := time.Now(); time.Since(since) < 2*waitLong; time.Sleep(50 * time.Millisecond) {
		var err error
		if out, err = exec.Command("umount", c.dir).CombinedOutput(); err != nil && !bytes.Contains(out, []byte("not mounted")) {
			continue
		}
		if out, err = exec.Command("mount", c.device, c.dir).CombinedOutput(); err != nil {
			continue
		}
		probe := filepath.Join(c.dir, "alive")
		if err = os.WriteFile(probe, nil, 0o600); err == nil {
			require.NoError(c.t, os.Remove(probe))
			return
		}
		out = []byte(err.Error())
	}
	require.FailNow(c.t, "the file system does not come back: does another mount namespace hold it?", "%s", out)
}
