package nbd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func serveMem(t testing.TB) (*memDevice, string) {
	d := newMemDevice(1 << 20)
	_, path, _ := startServer(t, exportMap{"disk": d, "other": newMemDevice(4096)}, Options{})
	return d, path
}

func TestUnknownClientFlagsDrop(t *testing.T) {
	_, path := serveMem(t)
	for _, flags := range []uint32{4, 1 << 31, 7, 0xffffffff} {
		greeted(t, path, flags).closed()
	}
}

func TestOptionsStayInSync(t *testing.T) {
	_, path := serveMem(t)
	name := appendString(nil, "disk")
	cases := []struct {
		name   string
		option uint32
		data   []byte
		want   []uint32
	}{
		{"unknown", 77, nil, []uint32{repErrUnsup}},
		{"unknown with data", 0xffffffff, make([]byte, 999), []uint32{repErrUnsup}},
		{"PEEK_EXPORT", 4, []byte("x"), []uint32{repErrUnsup}},
		{"STARTTLS", 5, nil, []uint32{repErrUnsup}},
		{"EXTENDED_HEADERS", 11, nil, []uint32{repErrUnsup}},
		{"LIST with data", optList, []byte("x"), []uint32{repErrInvalid}},
		{"STRUCTURED_REPLY with data", optStructuredReply, []byte("x"), []uint32{repErrInvalid}},
		{"GO empty", optGo, nil, []uint32{repErrInvalid}},
		{"GO cut", optGo, []byte{0, 0, 0, 1}, []uint32{repErrInvalid}},
		{"GO name too long", optGo, append(be.AppendUint32(nil, 0xffffffff), 0, 0), []uint32{repErrInvalid}},
		{"GO name runs into count", optGo, append(name, 0), []uint32{repErrInvalid}},
		{"GO too few infos", optGo, append(name, 0, 2, 0, 3), []uint32{repErrInvalid}},
		{"GO rest", optGo, append(goData("disk"), 1), []uint32{repErrInvalid}},
		{"GO unknown export", optGo, goData("nope"), []uint32{repErrUnknown}},
		{"GO empty name", optGo, goData(""), []uint32{repErrUnknown}},
		{"GO slash only", optGo, goData("/"), []uint32{repErrUnknown}},
		{"GO zero byte", optGo, goData("a\x00b"), []uint32{repErrInvalid}},
		{"GO not UTF-8", optGo, goData("\xff"), []uint32{repErrInvalid}},
		{"GO long name", optGo, goData(strings.Repeat("x", 4097)), []uint32{repErrInvalid}},
		{"INFO", optInfo, goData("disk"), []uint32{repInfo, repAck}},
		{"INFO unknown infos", optInfo, goData("disk", 99, 2, 0xffff), []uint32{repInfo, repAck}},
		{"INFO all", optInfo, goData("disk", 0, 1, 2, 3), []uint32{repInfo, repInfo, repInfo, repAck}},
		{"INFO unknown export", optInfo, goData("nope"), []uint32{repErrUnknown}},
		{"LIST", optList, nil, []uint32{repServer, repServer, repAck}},
		{"too big", 77, make([]byte, maxOptionData+1), []uint32{repErrTooBig}},
		{"LIST_META before STRUCTURED_REPLY", optListMeta, metaData("disk"), []uint32{repErrInvalid}},
		{"SET_META before STRUCTURED_REPLY", optSetMeta, metaData("disk", "base:allocation"), []uint32{repErrInvalid}},
	}
	all := greeted(t, path, 3)
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			all.t = t
			all.option(k.option, k.data)
			all.expect(k.option, k.want...)
		})
	}
	all.t = t
	all.option(optGo, goData("disk"))
	all.expect(optGo, repInfo, repAck)
	all.send(requestBytes(cmdFlush, 0, 1, 0, 0))
	require.Zero(t, all.simple(1))
}

func TestMetaContexts(t *testing.T) {
	_, path := serveMem(t)
	w := greeted(t, path, 3)
	w.option(optStructuredReply, nil)
	w.expect(optStructuredReply, repAck)
	w.option(optStructuredReply, nil)
	w.expect(optStructuredReply, repAck)
	one, two := []uint32{repMetaContext, repAck}, []uint32{repMetaContext, repMetaContext, repAck}
	none := []uint32{repAck}
	bad := []uint32{repErrInvalid}
	cases := []struct {
		option  uint32
		data    []byte
		want    []uint32
		comment string
	}{
		{optListMeta, metaData("disk"), two, "no queries: all"},
		{optListMeta, metaData("disk", "base:"), one, "wildcard"},
		{optListMeta, metaData("disk", "base:allocation", "base:"), one, "each once"},
		{optListMeta, metaData("disk", "qemu:"), one, "the other wildcard"},
		{optListMeta, metaData("disk", "qemu:", "base:"), two, "both wildcards"},
		{optListMeta, metaData("disk", "qemu:dirty-bitmap:"), none, "a namespace within"},
		{optListMeta, metaData("disk", "x-other:thing"), none, "unknown namespace"},
		{optListMeta, metaData("disk", "base:no"), none, "unknown leaf"},
		{optListMeta, metaData("disk", "nonsense"), bad, "syntax"},
		{optListMeta, metaData("disk", ":x"), bad, "syntax"},
		{optListMeta, metaData("disk", "q:\xff"), bad, "not UTF-8"},
		{optListMeta, metaData("disk", "q:\x00"), bad, "zero byte"},
		{optListMeta, metaData("disk", "q:"+strings.Repeat("x", maxString)), bad, "long"},
		{optListMeta, metaData("nope"), []uint32{repErrUnknown}, "unknown export"},
		{optListMeta, append(metaData("disk"), 0), bad, "rest"},
		{optListMeta, appendString(nil, "disk"), bad, "cut"},
		{optListMeta, append(appendString(nil, "disk"), 0xff, 0xff, 0xff, 0xff), bad, "query count"},
		{optSetMeta, metaData("disk"), none, "no queries: none"},
		{optSetMeta, metaData("disk", "base:", "qemu:"), none, "no wildcard in SET"},
		{optSetMeta, metaData("disk", "qemu:allocation-depth", "q:z", baseAllocation), two, "both"},
		{optSetMeta, metaData("disk", "base:allocation", "base:allocation", "q:z"), one, "once"},
	}
	for _, k := range cases {
		t.Run(k.comment, func(t *testing.T) {
			w.t = t
			w.option(k.option, k.data)
			w.expect(k.option, k.want...)
		})
	}
}

// BLOCK_STATUS works only if the last SET_META_CONTEXT succeeded and was for
// the export that GO names.
func TestMetaContextSelection(t *testing.T) {
	_, path := serveMem(t)
	good := metaData("disk", baseAllocation)
	cases := []struct {
		name  string
		metas [][]byte
		want  uint16
	}{
		{"chosen", [][]byte{good}, chunkBlockStatus},
		{"with slash", [][]byte{metaData("/disk", baseAllocation)}, chunkBlockStatus},
		{"never", nil, chunkError},
		{"other export", [][]byte{metaData("other", baseAllocation)}, chunkError},
		{"reset by empty", [][]byte{good, metaData("disk")}, chunkError},
		{"reset by failure", [][]byte{good, metaData("nope", baseAllocation)}, chunkError},
		{"reset by malformed", [][]byte{good, {1}}, chunkError},
		{"set again", [][]byte{good, {1}, good}, chunkBlockStatus},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			w := greeted(t, path, 3)
			w.option(optStructuredReply, nil)
			w.expect(optStructuredReply, repAck)
			for _, m := range k.metas {
				w.option(optSetMeta, m)
				for kind := uint32(repMetaContext); kind == repMetaContext; {
					kind, _ = w.optReply(optSetMeta)
				}
			}
			w.option(optGo, goData("disk"))
			w.expect(optGo, repInfo, repAck)
			w.send(requestBytes(cmdBlockStatus, 0, 9, 0, 4096))
			_, kind, _ := w.chunk(9)
			require.Equal(t, k.want, kind)
		})
	}
}

func TestInfoThenGoAgree(t *testing.T) {
	_, path := serveMem(t)
	w := greeted(t, path, 3)
	var seen [2][]byte
	for i, option := range []uint32{optInfo, optGo} {
		w.option(option, goData("/disk", infoName, infoBlockSize))
		_, seen[i] = w.optReply(option)
		_, name := w.optReply(option)
		require.Equal(t, "disk", string(name[2:]))
		_, sizes := w.optReply(option)
		require.Equal(t, []uint32{1, 4096, 32 << 20}, []uint32{be.Uint32(sizes[2:]), be.Uint32(sizes[6:]), be.Uint32(sizes[10:])})
		w.expect(option, repAck)
	}
	require.Equal(t, seen[0], seen[1])
	require.Equal(t, uint64(1<<20), be.Uint64(seen[0][2:]))
	// No zeroes follow GO: the next bytes are a reply.
	w.send(requestBytes(cmdRead, 0, 3, 0, 8))
	require.Zero(t, w.simple(3))
	w.read(8)
}

func TestTransmissionFlags(t *testing.T) {
	ro := newMemDevice(4096)
	ro.readOnly = true
	_, path, _ := startServer(t, exportMap{"rw": newMemDevice(4096), "ro": ro}, Options{})
	const both = flagHasFlags | flagFlush | flagFUA | flagCanMultiConn | flagCache
	for _, k := range []struct {
		name       string
		structured bool
		want       uint16
	}{
		{"rw", false, both | flagTrim | flagWriteZeroes | flagFastZero},
		{"rw", true, both | flagTrim | flagWriteZeroes | flagFastZero | flagDF},
		{"ro", false, both | flagReadOnly},
		{"ro", true, both | flagReadOnly | flagDF},
	} {
		t.Run(fmt.Sprint(k.name, k.structured), func(t *testing.T) {
			w := greeted(t, path, 3)
			if k.structured {
				w.option(optStructuredReply, nil)
				w.expect(optStructuredReply, repAck)
			}
			w.option(optInfo, goData(k.name))
			_, info := w.optReply(optInfo)
			require.Equal(t, k.want, be.Uint16(info[10:]))
		})
	}
}

func TestExportName(t *testing.T) {
	_, path := serveMem(t)
	for _, flags := range []uint32{1, 3, 0} {
		w := greeted(t, path, flags)
		w.option(optExportName, []byte("/disk"))
		b := w.read(10)
		require.Equal(t, uint64(1<<20), be.Uint64(b))
		if flags&flagNoZeroes == 0 {
			require.Equal(t, make([]byte, 124), w.read(124))
		}
		w.send(requestBytes(cmdRead, 0, 3, 0, 8))
		require.Zero(t, w.simple(3))
		w.read(8)
	}
	for _, name := range []string{"nope", "", strings.Repeat("x", 70000)} {
		w := greeted(t, path, 3)
		_, _ = w.Write(optionBytes(optExportName, []byte(name)))
		var b [1]byte
		_, err := w.Read(b[:])
		require.Error(t, err, "the server must close")
		var ne net.Error
		require.False(t, errors.As(err, &ne) && ne.Timeout())
	}
}

func TestAbort(t *testing.T) {
	_, path := serveMem(t)
	w := greeted(t, path, 3)
	w.option(optAbort, []byte("ignored"))
	w.expect(optAbort, repAck)
	w.closed()
}

func TestHugeOptionCloses(t *testing.T) {
	_, path := serveMem(t)
	w := greeted(t, path, 3)
	w.send(optionBytes(77, nil)[:12], be.AppendUint32(nil, maxOptionDrain+1))
	w.closed()
}

// A handshake has so many bytes, whether they are looked at or not.
func TestEndlessHandshakeCloses(t *testing.T) {
	_, path := serveMem(t)
	w := greeted(t, path, 3)
	for range maxHandshake/maxOptionDrain - 1 {
		go func() { _, _ = w.Write(optionBytes(77, make([]byte, maxOptionDrain))) }()
		w.expect(77, repErrTooBig)
	}
	w.send(optionBytes(77, nil))
	w.expect(77, repErrUnsup)
	_, _ = w.Write(optionBytes(77, make([]byte, maxOptionDrain)))
	rest, _ := io.ReadAll(w)
	require.Empty(t, rest)
}

func TestTooManyOptionsClose(t *testing.T) {
	_, path := serveMem(t)
	w := greeted(t, path, 3)
	go func() { _, _ = w.Write(bytes.Repeat(optionBytes(77, nil), maxOptions+10)) }()
	for range maxOptions {
		w.expect(77, repErrUnsup)
	}
	var b [1]byte
	_, err := w.Read(b[:])
	require.Error(t, err)
}

func TestHandshakeDeadline(t *testing.T) {
	s, path, _ := startServer(t, exportMap{}, Options{HandshakeTimeout: 50 * time.Millisecond})
	w := dialWire(t, path)
	w.read(greetingSize)
	w.closed()
	require.Eventually(t, func() bool { return s.ActiveConnections() == 0 }, 5*time.Second, time.Millisecond)
}

type brokenExports struct{ err error }

func (b brokenExports) Open(context.Context, string) (Device, error) { return nil, b.err }
func (b brokenExports) List(context.Context) ([]ExportInfo, error)   { return nil, b.err }

// What an Exports fails with is told apart, and its text stays in the log.
func TestOpenErrors(t *testing.T) {
	for _, k := range []struct {
		err  error
		want uint32
	}{
		{fs.ErrNotExist, repErrUnknown},
		{fmt.Errorf("x: %w", fs.ErrPermission), repErrPolicy},
		{errors.New("secret path"), repErrUnknown},
	} {
		_, path, _ := startServer(t, brokenExports{k.err}, Options{})
		w := greeted(t, path, 3)
		w.option(optGo, goData("disk"))
		require.NotContains(t, string(w.expect(optGo, k.want)), "secret")
		w.option(optList, nil)
		require.NotContains(t, string(w.expect(optList, repErrPolicy)), "secret")
	}
}

// longList names many exports.
type longList struct{ exportMap }

func (longList) List(context.Context) ([]ExportInfo, error) {
	return slices.Repeat([]ExportInfo{{Name: "server-0123456789-disk", Description: strings.Repeat("x", 100)}}, 5000), nil
}

// The answer to LIST is held until the client takes it, and so is charged.
func TestLongListIsCharged(t *testing.T) {
	s, path, _ := startServer(t, longList{exportMap{"disk": newMemDevice(4096)}}, Options{MaxBytes: 1 << 20})
	slow := greeted(t, path, 3)
	slow.option(optList, nil)
	require.Eventually(t, func() bool { return s.budget.held() > 512<<10 }, 10*time.Second, time.Millisecond)
	w := greeted(t, path, 3)
	w.option(optList, nil)
	w.expect(optList, repErrPolicy)
	for range 5000 {
		slow.expect(optList, repServer)
	}
	slow.expect(optList, repAck)
	require.Eventually(t, func() bool { return s.budget.held() == 0 }, 10*time.Second, time.Millisecond)
	w.option(optList, nil)
	w.expect(optList, repServer)
}

// A SET_META_CONTEXT that is too long leaves no context, like any that fails.
func TestOversizeSetMetaForgets(t *testing.T) {
	_, path := serveMem(t)
	w := greeted(t, path, 3)
	w.option(optStructuredReply, nil)
	w.expect(optStructuredReply, repAck)
	w.option(optSetMeta, metaData("disk", baseAllocation))
	w.expect(optSetMeta, repMetaContext, repAck)
	w.option(optSetMeta, make([]byte, maxOptionData+1))
	w.expect(optSetMeta, repErrTooBig)
	w.option(optGo, goData("disk"))
	w.expect(optGo, repInfo, repAck)
	w.send(requestBytes(cmdBlockStatus, 0, 1, 0, 4096))
	_, kind, _ := w.chunk(1)
	require.Equal(t, uint16(chunkError), kind)
}
