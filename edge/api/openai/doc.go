// Package openai speaks the HTTP API of OpenAI's chat completions and completions over a [chat.Service], so that its clients need nothing but
// another base URL.
//
// Facts are from openai-openapi, from what openai-python 3.3.1 and openai-node 7.5.0 check, and, for completions, from what
// lm-evaluation-harness's local-completions sends and reads.
//
// # What is different
//
// Fields that are not known are ignored. top_k, min_p and repetition_penalty are known, as on other local servers. n and best_of are 1. A completion
// continues its prompt as it is, without a BOS token or a turn, up to 32 stop strings are allowed, and with echo a stream has one piece a prompt.
// The object that has usage also has timings, and where the board has a sensor of power usage has energy ([chat.Energy]). A stream says nothing for 15 to 30 seconds at most: then comes a comment.
//
// # Errors
//
// An error is {"error":{"message","type","param","code"}}, behind the first piece of a stream as its last event, without [DONE].
//
//	400 invalid_request_error  invalid_value, unsupported_value, context_length_exceeded
//	404 not_found_error        model_not_found
//	404 invalid_request_error  unknown_url
//	405 invalid_request_error  method_not_allowed, with Allow
//	429 rate_limit_error       rate_limit_exceeded, with retry-after and retry-after-ms
//	500 server_error           internal_error, with x-should-retry: false
//	503 server_error           unavailable, with retry-after if it will pass, else x-should-retry: false
//	504 server_error           timeout, with x-should-retry: false
package openai
