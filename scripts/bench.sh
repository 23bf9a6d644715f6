#!/usr/bin/env bash
# Measures what README.md's performance section states. Usage: bench.sh BIMAMBA. About 10 minutes; random models are made in the user's cache folder first.
set -euo pipefail
cd "$(dirname "$0")/.."
bimamba=$1
run() { echo "\$ bimamba bench $*"; "$bimamba" bench "$@"; echo; }
for threads in 1 2; do
	run --size 780M --threads $threads
	run --size 780M --threads $threads --state f32
	run --size 2.7B --threads $threads --prefill 64
done
run --size 780M --threads 2 --precision fast
run --size 780M --threads 2 --head int4
run default --threads 1
echo "\$ go test -bench 'Stream|Cache' ./neon"
go test -run '^$' -bench 'Stream|Cache' ./neon
