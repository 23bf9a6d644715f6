// Package model is the forward pass of Mamba-2 over a mapped blob, and the account of the memory that it takes.
//
// [Open] binds a blob's tensors to the layers that use them and lays out one arena for all sessions: recurrent
// states and workspaces, of a size that is known before the first token ([Footprint]) and never changes after it.
// A [Session] is one sequence: [Session.Step] feeds it a token, and the state is all that it remembers.
//
// The arithmetic is that of package neon: the same bits on every CPU.
package model
