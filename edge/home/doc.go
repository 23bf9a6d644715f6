// Package home knows a house and understands what is said in it.
//
// A [Home] is areas, floors and entities, as home.toml has them. An [Assistant] makes [Action]s of sentences: it changes nothing itself.
//
// # How a sentence is understood
//
// A sentence is parted into commands. The model writes an intent and its slots for each, held to what is possible in this home and can have been said
// (package intent): names, areas and floors are ones that the command may mean, free texts are parts of it. What was written is then compared with
// the command: every word has to be accounted for, numbers and colors have to have been said, and verbs decide about on and off, open and closed.
//
// A command that fails is tried again with slips of speech recognition mended, in other words that mean the same, and at last with words that only sound
// a little alike; there the model's own score decides. What is left in doubt is asked back or declined: a wrong action is worse than a refusal. What lets
// somebody in or switches an alarm off is always asked about first.
package home
