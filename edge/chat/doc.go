// Package chat turns conversations into prompts and answers into messages, as the model's kind asks for: a base model continues a transcript, an
// instruct model follows its prompt table, an intent model maps the last message to calls of tools.
//
// It is what the HTTP APIs have in common. Tokens, states and the order of requests are package engine's.
package chat
