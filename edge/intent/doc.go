// Package intent makes a model that knows intents only (kind "intent") answer clients that speak of tools, as Home Assistant's language model
// integrations do.
//
// The way of a request: [ReadHome] finds the devices and areas in the client's system text; [Home.Grammar] is what the model may write, given
// the tools that the client offers; the model writes a line of JSON for the last utterance; [Home.Calls] makes calls of it, or refuses.
// The results of the calls come back in the next request, and [Answer] puts them into words.
//
// A wrong action is worse than a refusal. So a call names only devices, areas and floors that the utterance names, too, and an utterance
// with a word that nothing in the call accounts for is refused.
package intent
