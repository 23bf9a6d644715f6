#!/usr/bin/env bash
# The assistant from end to end, with no microphone: WAV in, a real broker of MQTT gets the action, WAV out.
# Usage: voice.sh PATH_OF_BIMAMBA. Under a minute. Installs Debian's pocketsphinx, flite, espeak-ng, sox and mosquitto when it is root.
set -euo pipefail
cd "$(dirname "$0")/.."
bimamba=$(realpath "$1")
PATH=$PATH:/usr/sbin
work=$(mktemp -d)
broker=
listener=
finish() {
	for pid in $listener $broker; do kill "$pid" 2>/dev/null || true; done
	rm -rf "$work"
}
trap finish EXIT

scripts/setup.sh voice

# speak FILE TEXT...: a room in which the texts are said, each followed by two seconds of silence.
speak() {
	local out=$1 parts=() i=0
	shift
	for text; do
		i=$((i + 1))
		flite -voice slt -t "$text" -o "$work/said.wav"
		sox -D "$work/said.wav" -r 16000 -c 1 -b 16 "$work/said-$i.wav" pad 0.5 2
		parts+=("$work/said-$i.wav")
	done
	sox "${parts[@]}" "$out"
}

fail() {
	echo "voice: $1" >&2
	for f in "$work"/*.log "$work"/*.json; do
		[ -s "$f" ] && { echo "--- ${f##*/}"; cat "$f"; } >&2
	done
	exit 1
}

# until NAME COMMAND...: waits until the command succeeds, for 20 seconds.
until_() {
	local what=$1
	shift
	for _ in $(seq 200); do
		if "$@"; then return; fi
		sleep 0.1
	done
	fail "$what"
}

# A broker of our own, at a port that is free.
port=$((20000 + RANDOM % 20000))
printf 'listener %s 127.0.0.1\nallow_anonymous true\n' "$port" >"$work/mosquitto.conf"
mosquitto -c "$work/mosquitto.conf" >"$work/mosquitto.log" 2>&1 &
broker=$!
mosquitto_sub -p "$port" -t 'bimamba/+/action' -t up >"$work/actions.json" 2>"$work/listener.log" &
listener=$!
up() {
	if ! kill -0 "$listener" 2>/dev/null; then # it came before the broker
		mosquitto_sub -p "$port" -t 'bimamba/+/action' -t up >"$work/actions.json" 2>"$work/listener.log" &
		listener=$!
	fi
	mosquitto_pub -p "$port" -t up -m up 2>/dev/null
	grep -q '^up$' "$work/actions.json"
}
until_ "the broker does not start" up

voice() { "$bimamba" voice --home edge/voice/testdata/home.toml --asr pocketsphinx --wake pocketsphinx --mqtt "mqtt://127.0.0.1:$port" --json "$@" >>"$work/turns.json" 2>"$work/voice.log" || fail "bimamba voice failed"; }
# acted TEXT: the broker has an action with it.
acted() { grep -q "$1" "$work/actions.json"; }
said() { grep -q "$1" "$work/turns.json"; }

echo 'voice: "hey computer, turn on the kitchen light", and a sentence that is none of its business'
speak "$work/1.wav" "Hey computer. Turn on the kitchen light." "Did you see the football match last night"
voice --mic "$work/1.wav" --tts flite --speaker "$work/reply.wav" --metrics "$work/metrics"
until_ "the broker did not get the action" acted '"intent":"HassTurnOn".*"light.kitchen"'
[ "$(grep -c '"intent"' "$work/actions.json")" = 1 ] && [ "$(wc -l <"$work/turns.json")" = 1 ] || fail "something else was understood, too"
# The reply can be heard: half a second or more, and not silent.
read -r seconds rms < <(sox "$work/reply.wav" -n stat 2>&1 | awk '/^Length/{l=$3} /^RMS.*amplitude/{r=$3} END{print l, r}')
awk "BEGIN{exit !($seconds > 0.5 && $rms > 0.01)}" || fail "the reply has $seconds s and an amplitude of $rms"
grep -q 'bimamba_voice_turns_total{kind="act"} 1' "$work/metrics" || fail "the figures do not count the command"

echo 'voice: "unlock the front door" is asked back for, and done after "yes"'
speak "$work/2.wav" "Hey computer. Unlock the front door." "Yes."
voice --mic "$work/2.wav" --tts espeak-ng --speaker "$work/reply.wav"
said '"kind":"ask"' || fail "it did not ask"
until_ "the broker did not get the action" acted '"lock.front"'

echo 'voice: 8 kHz and two channels, as a telephone'
speak "$work/3.wav" "Hey computer. Switch on the desk lamp."
sox "$work/3.wav" -r 8000 -c 2 "$work/8k.wav"
voice --mic "$work/8k.wav"
until_ "the broker did not get the action" acted '"light.desk"'

echo 'voice: a timer, which needs no broker'
speak "$work/4.wav" "Hey computer. Set a timer for ten minutes."
voice --mic "$work/4.wav" --tts flite --speaker "$work/reply.wav"
said '"intent":"HassStartTimer"' || fail "there is no timer"

sed -E 's/.*"heard":"([^"]*)".*"kind":"([^"]*)".*"milliseconds":(\{[^}]*\}).*/voice:   heard "\1", \2, ms \3/' "$work/turns.json"
echo "voice: passed"
