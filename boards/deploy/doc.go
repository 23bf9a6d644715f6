// Package deploy brings a model, a daemon and its configuration to boards over ssh, and takes them back where they are not well.
//
// A [Bundle] is what is to be deployed. [Bundle.To] brings it to a board, whose side is package bimamba/boards/slot:
//
//  1. it looks at the board: its processor, what bimamba doctor says of it, what was deployed before;
//  2. it plans, with the board's own memory, and refuses what will not fit;
//  3. it sends what differs, and goes on where a connection was cut;
//  4. it switches, as a trial, and has the board ask the new daemon whether it is ready, and for the golden answer;
//  5. it confirms the version, or rolls it back and says why, with the daemon's last words.
//
// Whatever happens to the connection, to the board's power or to the new daemon meanwhile, the version before serves then.
//
// The golden answer is computed here, from the same file and with the same arithmetic, which gives the same bits on every processor: the board's daemon has to
// give the same tokens with the same probabilities.
//
// [Fleet] deploys to many boards: a canary first, then some at a time, and to none any more after the first failure.
package deploy
