#!/usr/bin/env bash
# Every test, on this machine and on arm64 under emulation. Installs what it needs (scripts/setup.sh). About 20 minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh

echo "test: amd64, every set of kernels that this CPU has"
go test ./...
echo "test: without assembly"
go test -tags noasm ./neon/... ./edge/model
go test -tags purego -run 'TestHashes|TestFor' ./neon/...
echo "test: race detector"
# What has no goroutines of its own and takes minutes is left out.
mapfile -t raced < <(go list ./... | grep -vE '^bimamba/(boards/image|boards/internal/disk|internal/(release|man|oci|ref64)|memmap/sign|models)(/|$)')
CGO_ENABLED=1 go test -race -short "${raced[@]}"

# arm64 is the product. What forward passes, tables and files are made of, on the smallest core, a middle one and one with everything.
arm64=(./memmap/... ./neon/... ./edge/model ./edge/token ./edge/sample ./internal/atomicfile)
for cpu in cortex-a53 cortex-a72 max; do
	echo "test: arm64, $cpu"
	GOARCH=arm64 CGO_ENABLED=0 go test -short -exec "qemu-aarch64 -cpu $cpu" "${arm64[@]}"
done
echo "test: arm64, cortex-a53, the default model"
GOARCH=arm64 CGO_ENABLED=0 go test -exec "qemu-aarch64 -cpu cortex-a53" -run 'TestAssistantShort' -v ./edge/engine
echo "test: arm64, cortex-a53, what the daemon is made of"
GOARCH=arm64 CGO_ENABLED=0 go test -short -exec "qemu-aarch64 -cpu cortex-a53" ./edge/grammar ./edge/state ./edge/api/... ./systemd/notify ./boards/sensor
for page in 16384 65536; do
	echo "test: arm64, pages of $page bytes"
	GOARCH=arm64 CGO_ENABLED=0 go test -skip TestStateF16Perplexity -exec "qemu-aarch64 -p $page -cpu cortex-a53" ./memmap ./edge/model
done

echo "test: programs for boards: static, stripped, within their size; scripts/boards.sh --check also builds them anew from another folder"
scripts/boards.sh

echo "test: instructions of the kernels"
scripts/icount.sh
