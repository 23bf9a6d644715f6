#!/usr/bin/env bash
# bimambad as others meet it: OpenAI's, Ollama's and README.md's clients, schemas against a validator, restarts, and the page in Chromium.
# A few minutes. What it has to skip it names at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
daemon=
finish() {
	if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null || true; fi
	rm -rf "$work"
}
trap finish EXIT
skipped=()

scripts/setup.sh clients || true # what it cannot have it skips

echo "clients: the programs"
CGO_ENABLED=0 go build -trimpath -o "$work/" ./cmd/bimamba ./cmd/bimambad

echo "clients: clients of OpenAI's and Ollama's, schemas, conversations, README.md"
command -v curl >/dev/null || skipped+=("README.md's examples: curl is not here")
(cd internal/e2e && BIMAMBA_BIN=$work go test -count=1 ./...)

# The page waits for nothing that a model of four layers would not say too fast, so it gets one of a real shape, which never ends by itself.
page() {
	local page=internal/e2e/web
	if ! (cd $page && npm ci --no-audit --no-fund >"$work/npm.log" 2>&1); then
		cat "$work/npm.log" >&2
		skipped+=("the page: npm cannot install playwright-core")
		return
	fi
	"$work/bimamba" synth --size assistant --format checkpoint -o "$work/checkpoint" >"$work/convert.log"
	"$work/bimamba" convert "$work/checkpoint" --tokenizer testdata/tokenizer-tiny --card internal/e2e/testdata/endless.toml -o "$work/page.bimamba" >>"$work/convert.log"
	"$work/bimambad" --model "$work/page.bimamba" --listen 127.0.0.1:0 --log-format json --threads 1 --precision exact --state f32 --max-tokens 60 2>"$work/daemon.log" &
	daemon=$!
	local url=
	for _ in $(seq 100); do
		url=$(sed -n 's/.*"msg":"ready","listen":"\([^"]*\)".*/\1/p' "$work/daemon.log")
		[ -n "$url" ] && break
		sleep 0.1
	done
	if [ -z "$url" ]; then
		cat "$work/daemon.log" >&2
		exit 1
	fi
	echo "clients: the page in Chromium, with the daemon at $url"
	(cd $page && BIMAMBAD_URL=$url npm test) || { cat "$work/daemon.log" >&2; exit 1; }
	kill "$daemon"
	wait "$daemon"
	daemon=
	echo "clients: the page in Chromium, with a stand-in for the daemon"
	(cd $page && npm test -- --test-name-pattern='^a prompt is answered|^the status is shown|^a long answer')
}
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	skipped+=("the page: node and npm are not here")
elif [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
	skipped+=("the page: Debian's Chromium is not here")
else
	page
fi

if [ ${#skipped[@]} -gt 0 ]; then
	printf 'clients: skipped: %s\n' "${skipped[@]}"
fi
echo "clients: passed"
