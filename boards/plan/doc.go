// Package plan says before anything is flashed whether a model fits a board, what it takes there, and how fast it may be.
//
// Bytes of the model come from [bimamba/edge/model.Footprint], which the engine reserves by, so a plan and the daemon agree; a test holds them together.
// Speed is a model of what a token moves and computes: bandwidth of memory as others have published it, or as it was measured on the board ([bimamba/boards/tuning]),
// and cycles of the kernels' inner loops by a static model of the core. No speed of a plan was measured as such, and each says so.
package plan
