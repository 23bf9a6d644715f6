// Package engine turns prompts into text: it joins a mapped model, its tokenizer and the sampler.
//
// An [Engine] is opened once on a blob. [Engine.Generate] runs one request on one of the model's sessions and
// hands out text as it comes, whole UTF-8 characters only, without a stop string or any part of one.
package engine
