// Package daemon is bimambad: it opens a blob, listens, and answers on the protocols that clients speak, until it is told to stop.
//
// Run is the program from its start to its end. What a request may do is decided here, once for all protocols: who may ask, how much, and for how
// long. So is what the board may do for them: it reads sensors, says what answers took, and holds limits of power, temperature and speed by package
// governor. The protocols themselves are packages edge/api/openai, edge/api/ollama and edge/api/wyoming; the model behind them, and
// the home that is spoken of, can be exchanged while requests run.
package daemon
