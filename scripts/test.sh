#!/usr/bin/env bash
# Every test, on this machine and on arm64 under emulation; the trainer's, other people's clients, and the assistant with a voice. Installs what it needs
# (scripts/setup.sh). About 20 minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh tests train voice
scripts/setup.sh clients || true # what these cannot have they skip
export GOFLAGS="${GOFLAGS:-} -vet=off" # scripts/check.sh has it

echo "test: amd64, every set of kernels that this CPU has"
go test ./...

# Most of these are one long forward pass after another, so as many run at a time as there are cores. job NAME COMMAND... starts one; jobs_end shows what they printed,
# and how long they took, and fails if one did.
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
names=()
job() {
	while [ "$(jobs -pr | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done # failures are told by jobs_end
	names+=("$1")
	local n=${#names[@]}
	(shift && SECONDS=0 && "$@" >"$logs/$n" 2>&1 && echo "$SECONDS s" >"$logs/$n.ok") &
}
jobs_end() {
	wait
	local n failed=0
	for n in $(seq ${#names[@]}); do
		echo "test: ${names[n - 1]}: $(cat "$logs/$n.ok" 2>/dev/null || echo failed)"
		cat "$logs/$n"
		[ -e "$logs/$n.ok" ] || failed=1
	done
	[ $failed = 0 ] || { echo "test: failed" >&2; exit 1; }
}
# What has no goroutines of its own and takes minutes is left out.
mapfile -t raced < <(go list ./... | grep -vE '^bimamba/(boards/image|boards/internal/(bmap|disk)|internal/(release|man|oci|ref64|static)|memmap/sign|models)(/|$)')
job "race detector" env CGO_ENABLED=1 go test -race -short "${raced[@]}"
job "without assembly" go test -tags noasm ./neon/... ./edge/model
job "portable Go alone" go test -tags purego -run 'TestHashes|TestFor' ./neon/...
# arm64 is the product. What forward passes, tables and files are made of, on the smallest core, a middle one and one with everything.
arm64() {
	local exec=$1
	shift
	GOARCH=arm64 CGO_ENABLED=0 go test -exec "qemu-aarch64 $exec" "$@"
}
for cpu in cortex-a53 cortex-a72 max; do
	job "arm64, $cpu" arm64 "-cpu $cpu" -short ./memmap/... ./neon/... ./edge/model ./edge/token ./edge/sample ./internal/atomicfile
done
for page in 16384 65536; do
	job "arm64, pages of $page bytes" arm64 "-p $page -cpu cortex-a53" -skip TestStateF16Perplexity ./memmap ./edge/model
done
job "arm64, cortex-a53, the default model" arm64 "-cpu cortex-a53" -run TestAssistantShort -v ./edge/engine
job "arm64, cortex-a53, what the daemon is made of" arm64 "-cpu cortex-a53" -short ./edge/grammar ./edge/state ./edge/api/... ./systemd/notify ./boards/sensor
# Static, stripped, within their size; scripts/boards.sh --check also builds them anew from another folder.
job "programs for boards" scripts/boards.sh
job "instructions of the kernels" scripts/icount.sh
job "trainer" scripts/train.sh
job "clients" scripts/clients.sh
job "voice" make voice
jobs_end
