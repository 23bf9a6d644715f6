#!/usr/bin/env bash
# Runs every fuzz test of the module for a while, one after the other. Usage: fuzz.sh [TIME]
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-5m}
for pkg in $(go list ./...); do
	for fuzz in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		echo "fuzz: $pkg $fuzz $time"
		go test -run '^$' -fuzz "^$fuzz\$" -fuzztime "$time" -fuzzminimizetime 10x "$pkg"
	done
done
