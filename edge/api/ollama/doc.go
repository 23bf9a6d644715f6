// Package ollama speaks Ollama's HTTP API, so that its clients (Home Assistant, Open WebUI, the ollama command and libraries) work with one
// mapped model unchanged.
//
// [New] makes the handler of everything under /api/. It chats and completes over a [chat.Service] and knows nothing of tokens and weights.
//
// # What differs from Ollama
//
// The model is mapped as long as the service runs: keep_alive decides only how long /api/ps lists a name. Nothing is pulled, pushed, created,
// copied, deleted or embedded; these paths say so. num_ctx and whatever else belongs to loading is accepted and ignored, for a state has one
// size. The context of /api/generate is accepted and ignored, and none is returned: Ollama deprecates it, and a conversation's state is found
// again by its text. Final lines also have cached_tokens, the part of prompt_eval_count that was found computed, and again as
// prompt_eval_cached_count, as newer releases of Ollama call it, and where the board has a sensor of power energy ([chat.Energy]).
//
// Facts are from github.com/ollama/ollama (api/types.go, server/routes.go), ollama-python and ollama-js.
package ollama
