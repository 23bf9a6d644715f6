// Package action sends what the assistant understood to where it is done: an MQTT broker ([MQTT]), a URL ([Webhook]) or, in package command, a program.
//
// A [Spool] stands before each of them. While the target answers, actions go straight through it and nothing is written. When the target is away, they are kept in a folder and sent
// later, in order, unless they have become too old by then: a door does not open an hour after somebody asked for it. ACTIONS.md in this directory says what is sent and what is guaranteed.
// A [Performer] does the actions of one answer, those that need no device by itself.
package action
