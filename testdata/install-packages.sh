#!/bin/bash
# Installs those packages of testdata/packages that are missing. Without root it
# only says which ones are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

wanted() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' packages; }

missing=()
while read -r name why; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)
	[[ $state == installed ]] && continue
	missing+=("$name")
	printf 'missing: %-18s %s\n' "$name" "$why"
done < <(wanted)
((${#missing[@]})) || exit 0

if ! command -v apt-get >/dev/null; then
	echo "error: these packages are Debian's and there is no apt-get here; install their programs by hand" >&2
	exit 1
fi
if ((EUID != 0)); then
	echo "error: not root, cannot install them. Run: sudo apt-get install ${missing[*]}" >&2
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}"; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing ${#missing[@]} packages (apt-get install) ..."
# The lists may be absent or name versions that the mirror no longer has.
if ! install >"$log" 2>&1; then
	apt-get update -q >>"$log" 2>&1 && install >>"$log" 2>&1 || {
		tail -n 20 "$log" >&2
		echo "error: apt-get could not install the packages above" >&2
		exit 1
	}
fi
echo "installed: ${missing[*]}"
