// Package boards is the parent of what the programs know about the board they run on.
//
// detect tells the board, its cores and its troubles; sensor reads power, temperature, clocks and throttling; plan says which model fits and how fast it runs;
// measure runs a model and reports tokens and joules. This package itself is empty.
package boards
