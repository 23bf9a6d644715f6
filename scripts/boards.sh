#!/usr/bin/env bash
# Builds bimamba and bimambad for boards (arm64) and PCs (amd64) into dist/ARCH: static, stripped, without a path of this machine in them, and of the version that
# scripts/version.sh says. The same commit and the same Go make the same bytes.
# Usage: boards.sh            builds, checks and lists them
#        boards.sh --check    builds the arm64 daemon and command again, from a copy of the tree in another folder and with an empty build cache, and compares
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 0 ] || [ "$*" = --check ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | grep -v '^set ' >&2; exit 2; }
read -r version _ < <(scripts/version.sh)

# build DIR ARCH...: everything that a caller's environment could change is said.
build() {
	local dir=$1 arch
	shift
	for arch in "$@"; do
		mkdir -p "$dir/$arch"
		env GOFLAGS= GOEXPERIMENT= GOOS=linux GOARCH="$arch" GOARM64=v8.0 GOAMD64=v1 CGO_ENABLED=0 \
			go build -trimpath -buildvcs=false -ldflags="-s -w -buildid= -X bimamba/edge/daemon.Version=$version" -o "$dir/$arch/" ./cmd/bimamba ./cmd/bimambad
	done
}

build "$PWD/dist" arm64 amd64
go run ./internal/release -dist dist programs
if [ "${1:-}" = --check ]; then
	tmp=$(mktemp -d)
	trap 'chmod -R u+w "$tmp" && rm -rf "$tmp"' EXIT
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do [ -e "$f" ] && printf '%s\0' "$f"; done |
		tar --null -T - -cf - | (mkdir -p "$tmp/elsewhere/tree" && tar -C "$tmp/elsewhere/tree" -xf -)
	(cd "$tmp/elsewhere/tree" && GOCACHE=$tmp/cache build "$tmp/dist" arm64)
	for f in bimamba bimambad; do
		cmp "dist/arm64/$f" "$tmp/dist/arm64/$f" || { echo "boards: dist/arm64/$f is not the same when it is built elsewhere" >&2; exit 1; }
	done
	echo "boards: the arm64 programs are the same bytes from another folder and an empty build cache"
fi
