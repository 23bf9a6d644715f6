#!/usr/bin/env bash
# Formatting, vet on both architectures, staticcheck, generated code, known vulnerabilities. Covers the modules of the generators and tools, too.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh tests
root=$PWD
tool="go tool -modfile=$root/tools/go.mod"
modules=(neon/gen/amd64 neon/gen/arm64 tools internal/e2e)

echo "check: gofmt"
bad=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$bad" ]; then
	echo "check: not gofmt'ed: $bad" >&2
	exit 1
fi
echo "check: go vet, amd64 and arm64, with and without assembly"
for arch in amd64 arm64; do
	GOARCH=$arch go vet ./...
	GOARCH=$arch go vet -tags noasm ./neon/... ./edge/model
	GOARCH=$arch go vet -tags purego ./neon/... ./edge/model
done
for dir in "${modules[@]}"; do (cd "$dir" && go vet ./...); done
echo "check: staticcheck, amd64 and arm64"
staticcheck=$($tool -n staticcheck) # built for this machine
$staticcheck ./...
GOARCH=arm64 $staticcheck ./neon/... ./edge/...
for dir in "${modules[@]}"; do (cd "$dir" && $staticcheck ./...); done
echo "check: go.mod is tidy"
go mod tidy -diff
for dir in "${modules[@]}"; do (cd "$dir" && go mod tidy -diff); done
echo "check: generated code"
generated() { sha256sum memmap/*_gen.go edge/state/*_gen.go neon/*.s README.md; }
before=$(generated)
go generate ./... >/dev/null
if [ "$before" != "$(generated)" ]; then
	echo "check: go generate changes generated files: commit what it writes" >&2
	exit 1
fi
echo "check: instructions without a name in Go's assembler"
(cd neon/gen/arm64 && go test ./...)
echo "check: govulncheck"
# Its database is on the network. Status 3 says that vulnerabilities were found; any other failure, that it could not look.
rc=0
out=$($tool govulncheck ./... 2>&1) || rc=$?
case $rc in
0) tail -n 1 <<<"$out" ;;
3) echo "$out" >&2; exit 1 ;;
*) echo "check: govulncheck skipped: it could not look (status $rc)" ;;
esac
