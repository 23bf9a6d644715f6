// Package boards is the parent of what the programs know about the board they run on.
//
// detect tells the board, its cores and its troubles; tuning is the file of what was measured of its speed; sensor reads power, temperature, clocks and throttling;
// plan says which model fits and how fast it runs; measure runs a model and reports tokens and joules; slot holds the versions that deploy brings over ssh; image makes
// the image of a card and flash writes it. This package itself is empty.
package boards
