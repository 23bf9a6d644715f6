// Package intent makes sense of what a model writes that knows intents only (kind "intent"): for clients that speak of tools, as Home Assistant's
// language model integrations do, and for a home of our own (package home).
//
// The way of a client's request: [ReadHome] finds the devices and areas in its system text; [Home.Form] is what the model may write for the utterance,
// given the tools that the client offers; the model writes a line of JSON; [Home.Calls] makes calls of it, or refuses. The results of the calls come
// back in the next request, and [Answer] puts them into words. In a home of our own [Home.HomeForm] and [Home.Understand] do the same for Home
// Assistant's own intents, [Home.Mend] and [Home.Readings] say what else may have been said.
//
// A wrong action is worse than a refusal. So a call names only devices, areas and floors that the utterance names, too, and an utterance
// with a word that nothing in the call accounts for is refused.
package intent
