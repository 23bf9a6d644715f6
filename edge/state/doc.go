// Package state keeps recurrent states in files, so that a sequence goes on where it stopped without its tokens being read again.
//
// A [Snapshot] is the whole memory of one sequence: the state of every layer, the ids of the tokens that made it and, if known,
// the logits behind the last one. It belongs to one model, byte for byte, and to one type of state; [Read] refuses it for any other
// before it touches the caller's memory. A persona is a snapshot of a system prompt, under a name. FORMAT.md in this directory is the format.
//
// [Write] and [Read] take streams. A [Dir] is a folder of snapshots that clients name: no name of theirs reaches outside of it, and a
// file in it is always whole, whatever happened to the process, the disk or the power while it was saved.
//
// Errors that say something about a snapshot are an [*Error], which wraps [ErrNotFound], [ErrName], [ErrModel], [ErrVersion], [ErrDamaged],
// [ErrNoSpace] or [ErrTooMany].
package state
