package doctor

// ptrace is how User-Mode-Linux runs its processes: its own children.
func ptrace(h Host) Finding {
	const check, path = "ptrace", "/proc/sys/kernel/yama/ptrace_scope"
	v, there := setting(h, path)
	switch {
	case !there:
		return fine(check, "not restricted")
	case v == "0" || v == "1":
		return fine(check, path+" is "+v)
	case v == "3":
		return lacks(Missing, check, path+" is 3", "sandboxes", "set kernel.yama.ptrace_scope=1 in /etc/sysctl.d and reboot: 3 cannot be taken back")
	}
	return lacks(Missing, check, path+" is "+v, "sandboxes", "sysctl kernel.yama.ptrace_scope=1")
}

// kernel is the one that sandboxes run.
func kernel(h Host) Finding {
	const check = "User-Mode-Linux"
	if path, err := h.Program("linux.uml"); err == nil {
		return fine(check, path)
	}
	return lacks(Missing, check, "linux.uml is not installed", "sandboxes", "install the package user-mode-linux (Debian, Ubuntu; amd64), or bring a linux.uml; then 'goldstream sandbox check'")
}
