// Package governor holds a board's power, temperature and speed within limits, by letting the engine rest between passes over the weights and by fewer threads.
//
// A [Governor] is told of each pass ([Governor.Pace], which is an engine's Options.Pace) and, about once a second, of what sensors say ([Governor.Step]). From
// these it keeps a duty, the part of the time in which passes run:
//
//   - Power is held by its ratio to the limit: the next duty is this one times the square root of what there may be to what there is, each less the power at
//     idle where that is known. Power is the idle power plus a multiple of the duty, so that every step covers a half to all of what is left and none goes
//     too far, whatever the board's figures are.
//   - Temperature is held by a band of 5 °C below the limit, over which the duty goes from all to next to nothing. A heat sink follows power slowly; a control
//     that sums up, as the one of power does, would swing.
//   - Tokens are held by the time that each may take.
//
// Where the duty stays low there is a thread fewer, which costs less power for a token than waiting with all of them; it comes back when the duty has
// been all for a while, later each time that it was too early.
//
// The smallest duty is 5 %: the governor slows requests down and never stops them. It does not replace what the board's firmware does.
package governor
