#!/usr/bin/env bash
# The trainer's tests, on a CPU. Installs Debian's PyTorch when it is root. About a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
python=/usr/bin/python3 # the one that Debian's python3-torch is for
missing=()
[ -x $python ] || missing+=(python3)
$python -c 'import torch' 2>/dev/null || missing+=(python3-torch)
$python -c 'import numpy' 2>/dev/null || missing+=(python3-numpy)
if [ ${#missing[@]} -gt 0 ]; then
	echo "train: installing ${missing[*]}"
	if [ "$(id -u)" != 0 ]; then
		echo "train: not root; run: apt-get install --no-install-recommends ${missing[*]}" >&2
		exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	apt-get install -q -y --no-install-recommends "${missing[@]}"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -o "$work/bimamba" ./cmd/bimamba
echo "train: FBI-Linear, state space, losses, shards, runs, and what the Go program makes of their checkpoints"
cd train
PYTHONDONTWRITEBYTECODE=1 BIMAMBA=$work/bimamba PYTHONPATH=. $python -m unittest discover -t . -s tests
