package nbd

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net"
	"testing"
	"time"
)

// feed lets a server talk to a client that sends input and hangs up.
func feed(t *testing.T, o ListenerOptions, input []byte) {
	disk := newMemDevice(1 << 16)
	disk.cached = len(input)%2 == 0 // by the reader, or by workers
	s := NewServer(described{exportMap{"disk": mapped{disk}}, "a disk", nil}, Options{HandshakeTimeout: time.Second})
	defer s.Close()
	ours, theirs := net.Pipe()
	s.admit(&listener{o: o}, theirs)
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, ours)
	}()
	_ = ours.SetWriteDeadline(time.Now().Add(2 * time.Second))
	_, _ = ours.Write(input)
	_ = ours.Close()
	<-read
	s.wg.Wait()
	if left := s.left(); left != nothingLeft {
		t.Error(left)
	}
}

// anyGrant opens the disk, read-only, under every name but one.
type anyGrant struct{}

func (anyGrant) Resolve(_ context.Context, name string, _ net.Addr) (Grant, error) {
	if name == "disk" {
		return Grant{}, fs.ErrNotExist
	}
	return Grant{ID: "g", Export: "disk", ReadOnly: true}, nil
}

// FuzzHandshake sends the server options, from the client's flags on.
func FuzzHandshake(f *testing.F) {
	hello := []byte{0, 0, 0, 3}
	f.Add([]byte{}, false)
	f.Add(append(hello, optionBytes(optGo, goData("disk", 0, 3))...), true)
	f.Add(append([]byte{0, 0, 0, 0}, optionBytes(optExportName, []byte("disk"))...), false)
	f.Add(bytes.Join([][]byte{hello, optionBytes(optList, nil), optionBytes(optAbort, nil)}, nil), true)
	f.Add(bytes.Join([][]byte{hello, optionBytes(optStructuredReply, nil),
		optionBytes(optListMeta, metaData("disk")), optionBytes(optSetMeta, metaData("disk", "base:", baseAllocation, "qemu:allocation-depth")),
		optionBytes(optInfo, goData("/disk", 1, 2, 3)), optionBytes(77, []byte("data"))}, nil), false)
	f.Fuzz(func(t *testing.T, input []byte, grants bool) {
		var o ListenerOptions
		if grants {
			o.Grants = anyGrant{}
		}
		feed(t, o, input)
	})
}

// FuzzRequests sends the server requests.
func FuzzRequests(f *testing.F) {
	all := []byte{}
	for kind := range uint16(10) {
		one := requestBytes(kind, 0, 1, 512, 16)
		if kind == cmdWrite {
			one = append(one, make([]byte, 16)...)
		}
		f.Add(one, kind%2 == 0)
		if kind != cmdDisc {
			all = append(all, one...)
		}
	}
	f.Add(all, true)
	f.Add(requestBytes(cmdWrite, 0, 1, 0, maxPayload+1), false)
	f.Add(requestBytes(cmdRead, 0xffff, 1, 1<<63, 0xffffffff), false)
	f.Add(requestBytes(cmdBlockStatus, cmdFlagReqOne, 1, 1<<15, 1<<15), true)
	f.Fuzz(func(t *testing.T, input []byte, structured bool) {
		start := []byte{0, 0, 0, 3}
		if structured {
			start = append(start, optionBytes(optStructuredReply, nil)...)
			start = append(start, optionBytes(optSetMeta, metaData("disk", baseAllocation, "qemu:allocation-depth"))...)
		}
		start = append(start, optionBytes(optGo, goData("disk"))...)
		feed(t, ListenerOptions{}, append(start, input...))
	})
}

// FuzzClientReplies lets a hostile server answer our client's requests.
func FuzzClientReplies(f *testing.F) {
	simple := make([]byte, simpleSize)
	putSimple(simple, 1, 0)
	f.Add(append(simple, make([]byte, 64)...), false)
	f.Add(chunkBytes(1, chunkOffsetData, u64(1000), make([]byte, 64)), true)
	f.Add(append(chunkBytes(0, chunkOffsetHole, u64(1000), u32(64)), chunkBytes(1, chunkNone)...), true)
	f.Add(chunkBytes(1, chunkError, u32(5), []byte{0, 1, 'x'}), true)
	f.Add(chunkBytes(1, chunkBlockStatus, u32(7), u32(4096), u32(3)), true)
	f.Fuzz(func(t *testing.T, reply []byte, structured bool) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		c := hostile(t, structured, reply)
		_, _ = c.ReadAt(ctx, make([]byte, 64), 1000)
		_ = c.Close()
		c = hostile(t, structured, reply)
		_, _ = c.Extents(ctx, 0, 1<<20)
		_ = c.Close()
	})
}

// FuzzClientHandshake lets a hostile server greet our client.
func FuzzClientHandshake(f *testing.F) {
	hello := append(u64(magicGreeting), u64(magicOption)...)
	hello = append(hello, 0, 3)
	reply := func(option, kind uint32, p []byte) []byte {
		o := optionReply{option: option}
		o.add(kind, p)
		return o.p
	}
	f.Add(bytes.Join([][]byte{hello, reply(optStructuredReply, repAck, nil),
		reply(optSetMeta, repMetaContext, append(u32(1), baseAllocation...)), reply(optSetMeta, repAck, nil),
		reply(optGo, repInfo, append([]byte{0, 0}, append(u64(4096), 0, 1)...)), reply(optGo, repAck, nil)}, nil))
	f.Add(append(hello, reply(optStructuredReply, repErrUnsup, []byte("no"))...))
	f.Fuzz(func(t *testing.T, input []byte) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		go func() {
			_, _ = theirs.Write(input)
			_ = theirs.Close()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		c, err := newClient(ctx, ours, "disk")
		if err == nil {
			_ = c.Close()
		}
		_ = ours.Close()
	})
}
