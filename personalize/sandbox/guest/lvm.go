package guest

// LVM is where the tool root has the program, if it has it.
const LVM = "/usr/sbin/lvm"
