// Package builtin does what an assistant can do without any device: timers, lists, the time and the date. Its words are English.
//
// Intents and slots are Home Assistant's. Timers run by the time since the machine was started, so that a clock that is set does not move them; they and the lists are kept in
// one small file, which is written when something changes and never else. A timer that ran out while the machine was off says so when it is on again.
package builtin
