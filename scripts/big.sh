#!/usr/bin/env bash
# Converts a random checkpoint of the 2.7B shape (f16, 5.2 GB): under 1 GiB of memory, to a file under 0.45 GB.
# Usage: big.sh PATH_OF_BIMAMBA [FOLDER]
set -euo pipefail
bimamba=$1
dir=$(mktemp -d "${2:-${TMPDIR:-/tmp}}/bimamba-big.XXXXXX")
trap 'rm -rf "$dir"' EXIT
"$bimamba" synth --size 2.7B --format checkpoint -o "$dir/checkpoint"
"$bimamba" convert "$dir/checkpoint" -o "$dir/2.7b.bimamba" --json | tee "$dir/report.json"
"$bimamba" verify "$dir/2.7b.bimamba"
rss=$(sed -n 's/.*"peak_rss_bytes":\([0-9]*\).*/\1/p' "$dir/report.json")
size=$(stat -c %s "$dir/2.7b.bimamba")
echo "big: peak memory $rss bytes, file $size bytes"
[ "$rss" -lt $((1 << 30)) ] || { echo "big: more than 1 GiB of memory" >&2; exit 1; }
[ "$size" -lt 450000000 ] || { echo "big: more than 0.45 GB" >&2; exit 1; }
