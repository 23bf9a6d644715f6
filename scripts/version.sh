#!/usr/bin/env bash
# Prints the version of this checkout and the time of its commit in seconds since 1970, as "VERSION SECONDS".
# The version is 0.1.0 at the tag v0.1.0, 0.1.0+3.g1a2b3c4 three commits later, and before the first tag 0.1.0-dev+531.g1a2b3c4, with the number that the
# source has; ".dirty" follows where tracked files are changed. Semantic Versioning and, with ~ for -, Debian order them as they came. Without git there is no more than the source's number.
# Environment: BIMAMBA_VERSION goes before all that, and SOURCE_DATE_EPOCH before the commit's time.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^var Version = "\(.*\)"$/\1/p' edge/daemon/status.go)
[ -n "$version" ] || { echo "version: edge/daemon/status.go has no version" >&2; exit 1; }
seconds=0
if git rev-parse -q --verify HEAD >/dev/null 2>&1; then
	seconds=$(git log -1 --format=%ct)
	dirty=
	git diff --quiet HEAD -- || dirty=.dirty
	commit=g$(git rev-parse --short=7 HEAD)
	if tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null); then
		version=${tag#v}
		n=$(git rev-list --count "$tag..HEAD")
		[ "$n$dirty" = 0 ] || version+=+$n.$commit$dirty
	else
		version+=+$(git rev-list --count HEAD).$commit$dirty
	fi
fi
echo "${BIMAMBA_VERSION:-$version} ${SOURCE_DATE_EPOCH:-$seconds}"
