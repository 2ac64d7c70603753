package runner

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"

	"goldstream/personalize/sandbox"
	"goldstream/personalize/sandbox/wire"
)

// typeBits are those of st_mode.
var typeBits = map[string]uint32{wire.TypeFile: 0o100000, wire.TypeDirectory: 0o040000, wire.TypeLink: 0o120000}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

// ll lists a directory for people, as ls -la does.
func (s *Session) ll(ctx context.Context, c call) error {
	list, err := s.disk.List(ctx, c.args[0])
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, name := range append([]string{".", ".."}, names(list)...) {
		full := path.Join(c.args[0], name)
		info, err := s.disk.Lstat(ctx, full)
		if err != nil {
			return err
		}
		if info.Type == wire.TypeLink {
			target, err := s.disk.Readlink(ctx, full)
			if err != nil {
				return err
			}
			name += " -> " + target
		}
		fmt.Fprintf(&out, "%s %3d %4d %4d %10d %s %s\n", modeText(info), info.Links, info.UID, info.GID, info.Size, info.Modified.UTC().Format("Jan _2  2006"), name)
	}
	return c.print(out.String())
}

// modeText is the first column of ls -l.
func modeText(i sandbox.Info) string {
	kind := map[string]string{wire.TypeFile: "-", wire.TypeDirectory: "d", wire.TypeLink: "l"}[i.Type]
	if kind == "" {
		kind = "?"
	}
	b := []byte(kind + "rwxrwxrwx")
	for n := range 9 {
		if i.Mode&(1<<(8-n)) == 0 {
			b[1+n] = '-'
		}
	}
	for bit, mark := range map[uint32]struct {
		at   int
		with byte
	}{0o4000: {3, 's'}, 0o2000: {6, 's'}, 0o1000: {9, 't'}} {
		if i.Mode&bit == 0 {
			continue
		}
		if b[mark.at] == '-' {
			b[mark.at] = mark.with - 'a' + 'A'
		} else {
			b[mark.at] = mark.with
		}
	}
	return string(b)
}

// architecture tells what a program is for, as libguestfs names it.
func (s *Session) architecture(ctx context.Context, c call) error {
	head, err := s.disk.ReadPart(ctx, c.args[0], 0, 20)
	if err != nil {
		return err
	}
	if len(head) < 20 || string(head[:4]) != elf.ELFMAG {
		return failf("%s is no program or library in ELF format", c.args[0])
	}
	var order binary.ByteOrder = binary.LittleEndian
	little := elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2LSB
	if !little {
		order = binary.BigEndian
	}
	name := map[elf.Machine]string{
		elf.EM_386: "i386", elf.EM_X86_64: "x86_64", elf.EM_AARCH64: "aarch64", elf.EM_ARM: "arm", elf.EM_IA_64: "ia64",
		elf.EM_PPC: "ppc", elf.EM_PPC64: "ppc64", elf.EM_S390: "s390x", elf.EM_SPARC: "sparc", elf.EM_SPARCV9: "sparc64", elf.EM_RISCV: "riscv",
	}[elf.Machine(order.Uint16(head[18:]))]
	switch {
	case name == "":
		return failf("%s is for a machine that is not known here", c.args[0])
	case name == "ppc64" && little:
		name = "ppc64le"
	case name == "riscv":
		name = map[elf.Class]string{elf.ELFCLASS32: "riscv32", elf.ELFCLASS64: "riscv64"}[elf.Class(head[elf.EI_CLASS])]
	}
	return c.print(name)
}

// posixCRC is that of cksum(1): big end first, and the length behind the content.
type posixCRC struct {
	sum   uint32
	count uint64
}

func (p *posixCRC) Write(b []byte) (int, error) {
	for _, one := range b {
		p.add(one)
	}
	p.count += uint64(len(b))
	return len(b), nil
}

func (p *posixCRC) add(one byte) {
	p.sum ^= uint32(one) << 24
	for range 8 {
		if p.sum&(1<<31) != 0 {
			p.sum = p.sum<<1 ^ 0x04c11db7
		} else {
			p.sum <<= 1
		}
	}
}

func (s *Session) crc(ctx context.Context, c call) error {
	var p posixCRC
	if err := s.disk.Read(ctx, c.args[1], &p, mostFile); err != nil {
		return err
	}
	for n := p.count; n > 0; n >>= 8 {
		p.add(byte(n))
	}
	return c.print(fmt.Sprint(^p.sum))
}
