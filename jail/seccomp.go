package jail

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Profile is a seccomp allow list. A call that is not on it fails with EPERM,
// or ends the program if Kill is set; one that writes extended attributes, with
// EOPNOTSUPP. The profiles of this package are made
// by ImageTool, Script and UserModeLinux.
//
// A filter sees arguments by value only (seccomp(2)): no path, no structure.
// That is why clone3 is answered with ENOSYS: its flags lie in memory, and
// every libc then falls back to clone.
type Profile struct {
	Calls   []string // allowed with any argument; names this machine lacks are left out
	Sockets []int    // address families for socket and socketpair
	Ioctls  []int    // request numbers
	Prctls  []int    // options
	Ptraces []int    // requests; they reach only processes of the same jail
	Kill    bool

	unfiltered bool // for tests of the layers below
}

// newNamespaces are the bits of clone's flags that would open kernel code
// which only the owner of a user namespace reaches.
const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// assemble makes the BPF program, in the parent, so that the stage needs no
// tables. The library adds the check of the architecture and refuses the x32
// calls.
func (p Profile) assemble() ([]syscall.SockFilter, error) {
	if p.unfiltered {
		return nil, nil
	}
	machine, err := arch.GetInfo("")
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	policy := seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: p.groups(machine)}
	if p.Kill {
		policy.DefaultAction = seccomp.ActionKillProcess
	}
	instructions, err := policy.Assemble()
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	return sockFilter(raw)
}

func sockFilter(raw []bpf.RawInstruction) ([]syscall.SockFilter, error) {
	if len(raw) > 4096 { // BPF_MAXINSNS
		return nil, errors.New("seccomp: the profile is too long")
	}
	filter := make([]syscall.SockFilter, 0, len(raw))
	for _, r := range raw {
		filter = append(filter, syscall.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K})
	}
	return filter, nil
}

func (p Profile) groups(machine *arch.Info) []seccomp.SyscallGroup {
	filtered := p.conditions()
	// Tools that would keep the attributes of a file complain of any other error.
	var none []string
	for _, name := range strings.Fields(attributeCalls) {
		if !slices.Contains(p.Calls, name) {
			none = append(none, name)
		}
	}
	special := append([]string{"clone3"}, none...)
	for _, c := range filtered {
		special = append(special, c.Name)
	}
	var plain []string
	for _, name := range p.Calls {
		if _, known := machine.SyscallNames[name]; known && !slices.Contains(special, name) && !slices.Contains(plain, name) {
			plain = append(plain, name)
		}
	}
	groups := []seccomp.SyscallGroup{
		{Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)},
		{Names: plain, Action: seccomp.ActionAllow},
		{NamesWithCondtions: filtered, Action: seccomp.ActionAllow},
	}
	if len(none) > 0 && !p.Kill {
		groups = append(groups, seccomp.SyscallGroup{Names: none, Action: seccomp.ActionErrno | seccomp.Action(unix.EOPNOTSUPP)})
	}
	return groups
}

// conditions lists only what is allowed: the kernel looks at 32 of the 64 bits
// of most arguments, so "anything but X" could be passed with X and a high bit.
func (p Profile) conditions() []seccomp.NameWithConditions {
	list := []seccomp.NameWithConditions{{
		Name:       "clone",
		Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsNotSet, Value: newNamespaces}},
	}}
	list = append(list, equal("socket", 0, p.Sockets)...)
	list = append(list, equal("socketpair", 0, p.Sockets)...)
	list = append(list, equal("ioctl", 1, p.Ioctls)...)
	list = append(list, equal("ptrace", 0, p.Ptraces)...)
	return append(list, equal("prctl", 0, p.Prctls)...)
}

func equal(name string, argument uint32, values []int) []seccomp.NameWithConditions {
	var list []seccomp.NameWithConditions
	for _, v := range values {
		list = append(list, seccomp.NameWithConditions{
			Name:       name,
			Conditions: seccomp.ArgumentConditions{{Argument: argument, Operation: seccomp.Equal, Value: uint64(v)}},
		})
	}
	return list
}
