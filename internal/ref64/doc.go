// Package ref64 is a second implementation of Mamba-2 and Bi-Mamba, in float64 and one token at a time, for tests alone.
//
// It was written from the papers (arXiv 2405.21060, 2411.11843) and shares no code with the runtime or the converters:
// it reads checkpoints with its own readers and multiplies with plain loops, so a mistake in one side shows as a
// difference to the other. It is slow and keeps every weight as float64; only tests import it.
//
//	m, err := ref64.Load("testdata/golden/bimamba")
//	trace, err := m.Run(ids)     // logits, the residual stream after every layer, final states
//	next, err := m.Greedy(ids, 8)
//
// The fixtures in testdata/golden-own are made and checked by this package's tests:
//
//	go test ./internal/ref64 -run TestFixtures -update
package ref64
