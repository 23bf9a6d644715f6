// Package engine turns prompts into text: it joins a mapped model, its tokenizer, grammars and the sampler, and shares them among requests.
//
// An [Engine] is opened once on a blob. [Engine.Generate] may be called from several goroutines. Requests wait in a queue of bounded length for a
// session; one goroutine then takes them through the model pass by pass, in batches of one token of every answer and slices of the prompts that are
// still being computed. A client that reads slowly stands still alone. Text comes in whole UTF-8 characters, without a stop string or any part of one.
//
// What the sessions have seen stays, and copies of their states are kept at the borders that a request names, all in memory that is fixed from the
// start. A prompt begins where a state has seen most of it; [Engine.Continuation] finds the tokens of answers again from a conversation's text. States
// leave and enter an engine as snapshots: [Engine.Export] and [Engine.Import].
package engine
