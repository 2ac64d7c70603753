#!/bin/bash
# Says whether there is a Go that can build this module, and what to do if not.
set -euo pipefail
go=${1:-go}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
want=$(awk '$1 == "go" { print $2 }' go.mod)

if ! command -v "$go" >/dev/null; then
	echo "error: Go is not installed. goldstream needs Go $want or newer: install it from your distribution or the Go project, and have it in PATH" >&2
	exit 1
fi
have=$(GOTOOLCHAIN=local "$go" env GOVERSION)
have=${have#go}
have=${have%% *}
[[ $(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1) == "$want" ]] && exit 0
# An older Go (1.21 and later) fetches the newer toolchain itself if it may.
"$go" version >/dev/null 2>&1 && exit 0
echo "error: Go $have is too old, goldstream needs $want or newer; GOTOOLCHAIN=auto lets Go fetch it" >&2
exit 1
