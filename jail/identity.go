package jail

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const overflowID = 65534

// identity is who the program is on the host.
type identity struct {
	privileged bool // may map other ids and make detached mounts
	uid, gid   int
}

func identify(hostID int) (identity, error) {
	if !hasSysAdmin() || alone() {
		return identity{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	if hostID == 0 {
		hostID = defaultHostID()
	}
	if !mapped(hostID) {
		return identity{}, fmt.Errorf("host id %d is not mapped in this user namespace (see /proc/self/uid_map)", hostID)
	}
	return identity{privileged: true, uid: hostID, gid: hostID}, nil
}

func (i identity) missing() []string {
	if i.privileged {
		return nil
	}
	return []string{"own host id: started without privileges, the program runs as the caller's uid"}
}

// defaultHostID allows for containers, whose own user namespace may end at
// 65535.
func defaultHostID() int {
	if mapped(DefaultHostID) {
		return DefaultHostID
	}
	return overflowID
}

func mapped(id int) bool {
	f, err := os.Open("/proc/self/uid_map")
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var inside, outside, count int
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &count); err == nil && id >= inside && id-inside < count {
			return true
		}
	}
	return false
}

// alone tells that we are in a user namespace of our own id and no other: what rights
// we have there do not reach the ids of others.
func alone() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && onlyOne(string(text))
}

func onlyOne(uidMap string) bool {
	var inside, outside, count int
	_, err := fmt.Sscan(uidMap, &inside, &outside, &count)
	return err == nil && count == 1 && strings.Count(uidMap, "\n") == 1
}

func hasSysAdmin() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// HostID is the uid and gid on the host of the programs in jails that this process
// starts with a Spec of no other.
func HostID() int {
	who, err := identify(0)
	if err != nil {
		return os.Geteuid()
	}
	return who.uid
}
