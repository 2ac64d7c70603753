package wire

// Op is what a Request asks for: its Code. The comment names the args, then,
// after the arrow, the args of the Result after its text, or what the Data is.
type Op uint16

const (
	// OpPowerOff unmounts everything and ends the kernel. -> nothing
	OpPowerOff Op = 1 + iota
	// OpEcho sends back what it gets. args -> args; Data in -> Data out
	OpEcho
	// OpDevices lists the disk and its partitions. -> Data: NUL-separated
	// name, bytes, name, bytes …
	OpDevices
)

// String is the op's name in error messages.
func (o Op) String() string {
	switch o {
	case OpPowerOff:
		return "power-off"
	case OpEcho:
		return "echo"
	case OpDevices:
		return "list-devices"
	}
	return "unknown operation"
}
