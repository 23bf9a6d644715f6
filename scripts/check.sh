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
# Its database is on the network. Status 3 says that vulnerabilities were found; any other failure, that it could not look.
rc=0
out=$($tool govulncheck ./... 2>&1) || rc=$?
case $rc in
0) tail -n 1 <<<"$out" ;;
3) echo "$out" >&2; exit 1 ;;
*) echo "check: govulncheck skipped: it could not look (status $rc)" ;;
esac
