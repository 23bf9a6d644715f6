#!/usr/bin/env bash
# The main job on the default model: a handful of home commands become intents (JSON) and replies.
# Usage: demo.sh PATH_OF_BIMAMBA
set -euo pipefail
bimamba=$1
run() {
	printf '\n> %s\n' "$2"
	"$bimamba" generate default --task "$1" --prompt "$2"
}
"$bimamba" inspect default | sed -n '1,7p'
run home 'turn on the kitchen lights'
run home 'set a timer for 5 minutes'
run home 'is the front door locked?'
run home 'set the bedroom lamp to 30 percent'
run home 'what is the temperature in the living room'
run home 'add milk to my shopping list'
run assist 'play some jazz by Miles Davis'
run topics 'how do i change my pin number'
