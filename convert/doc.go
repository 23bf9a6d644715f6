// Package convert turns a checkpoint into a blob.
//
// [Convert] reads the tensors of a [Checkpoint] one at a time, a few rows at a time, and writes them in the blob's
// layouts: it holds the packed bits of one projection at most, however large the model. The readers of source
// formats are its sub-packages: checkpoint (a directory), torch, safetensors, family (config.json) and tokenizer;
// synth is a checkpoint of random numbers.
package convert
