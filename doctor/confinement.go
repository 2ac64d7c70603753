package doctor

import "fmt"

// landlock is one of a jail's layers.
func landlock(h Host) Finding {
	const check = "Landlock"
	version, err := h.Landlock()
	if err != nil {
		return lacks(Warning, check, err.Error(), "one more layer of jails", "Linux 5.13 or newer, booted with lsm=landlock,… in front of what /sys/kernel/security/lsm lists")
	}
	return fine(check, fmt.Sprintf("version %d", version))
}

// cgroups bound the memory and the processes of a jail.
func cgroups(h Host) Finding {
	const check = "cgroups"
	list, there := setting(h, "/sys/fs/cgroup/cgroup.controllers")
	if there && contains(list, " ", "memory") && contains(list, " ", "pids") {
		return fine(check, "v2: "+list)
	}
	if _, v1 := setting(h, "/sys/fs/cgroup/memory/memory.limit_in_bytes"); v1 {
		return lacks(Warning, check, "v1", "limits of the memory and processes of jails", "boot with systemd.unified_cgroup_hierarchy=1; until then rlimits bound each process")
	}
	return lacks(Warning, check, "no memory and pids controllers", "limits of the memory and processes of jails", "boot with cgroup v2; until then rlimits bound each process")
}
