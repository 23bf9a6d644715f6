#!/usr/bin/env bash
# Formatting, vet on both architectures, staticcheck, generated code, known vulnerabilities.
set -euo pipefail
cd "$(dirname "$0")/.."
tool="go tool -modfile=tools/go.mod"

echo "check: gofmt"
bad=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$bad" ]; then
	echo "check: not gofmt'ed: $bad" >&2
	exit 1
fi
echo "check: go vet, amd64 and arm64"
go vet ./...
GOARCH=arm64 go vet ./...
echo "check: staticcheck"
$tool staticcheck ./...
echo "check: go.mod is tidy"
go mod tidy -diff
echo "check: generated code"
before=$(sha256sum memmap/*_gen.go)
go generate ./... >/dev/null
if [ "$before" != "$(sha256sum memmap/*_gen.go)" ]; then
	echo "check: go generate changes memmap/*_gen.go: commit what it writes" >&2
	exit 1
fi
echo "check: govulncheck"
# The database is on the network; without one there is nothing to check against.
if out=$($tool govulncheck ./... 2>&1); then
	echo "$out" | tail -n 1
elif grep -q -i -E 'dial|lookup|fetching|no such host|connection|403|40[0-9]|timeout' <<<"$out"; then
	echo "check: govulncheck skipped: its database cannot be reached"
else
	echo "$out" >&2
	exit 1
fi
