// Package page is the daemon's built-in web page: one document, made to try a model out and to see what the daemon does.
//
// The page speaks the daemon's own HTTP API and nothing else: /v1/models and /api/show say what can be asked, /v1/chat/completions answers, and
// /status, every two seconds while the page is seen, has the numbers of its panel. It has no framework and asks no other host, so it works where
// there is no network; its Content-Security-Policy makes sure of that. An access token is kept in the tab's session storage alone. Whatever comes
// from a model or a person is inserted as text: the policy refuses anything else (Trusted Types).
//
// internal/e2e/web drives it in a browser.
package page
