#!/usr/bin/env bash
# The trainer's tests, on a CPU. Installs Debian's PyTorch when it is root. About a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
python=/usr/bin/python3 # the one that Debian's python3-torch is for
scripts/setup.sh train
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -o "$work/bimamba" ./cmd/bimamba
echo "train: FBI-Linear, state space, losses, shards, runs, and what the Go program makes of their checkpoints"
cd train
PYTHONDONTWRITEBYTECODE=1 BIMAMBA=$work/bimamba PYTHONPATH=. $python -m unittest discover -t . -s tests
