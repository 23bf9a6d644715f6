// Package wyoming speaks the Wyoming protocol of Home Assistant's voice services: events over TCP or a Unix socket, each a line of JSON, maybe with more JSON
// and bytes behind it.
//
// [Server] is a service that turns what somebody said into Home Assistant's intents, or does it; it offers no ear, no mouth and no satellite. [Client] asks
// other services: to transcribe, to speak, to wait for a wake word, to understand. [Reader] and [Append] are the framing, for both.
//
// The protocol has no authentication: who reaches the address may ask.
//
// Sources: README.md and wyoming/*.py of github.com/OHF-Voice/wyoming at 22f8dea (1.9.0), and what Home Assistant makes of a service's answers
// (homeassistant/components/wyoming/conversation.py at 0945920).
package wyoming
