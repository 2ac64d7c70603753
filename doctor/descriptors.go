package doctor

import "fmt"

// wantedFiles is what a daemon with thousands of clients may have open.
const wantedFiles = 65536

// openFiles looks at RLIMIT_NOFILE, of which Go takes what the hard limit gives.
func openFiles(h Host) Finding {
	const check = "open files"
	n, err := h.Descriptors()
	found := fmt.Sprintf("up to %d", n)
	if err != nil {
		found = err.Error()
	}
	if err != nil || n < wantedFiles {
		return lacks(Warning, check, found, "thousands of clients and volumes", fmt.Sprintf("LimitNOFILE=%d in the unit, or ulimit -Hn %d", wantedFiles, wantedFiles))
	}
	return fine(check, found)
}
