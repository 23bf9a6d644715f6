// Package sphinx makes the recognizer pocketsphinx know a home: a grammar (JSGF) of what can be said there, and the part of a pronouncing dictionary
// that it needs, so that a phrase takes tens of milliseconds and 15 MB.
//
// A grammar never rejects: whatever is said comes back as the sentence of it that is nearest. So a wake word or a button has to stand before it, and
// dangerous commands are confirmed. It is the engine that needs no download, for tests and for boards that can do no better.
package sphinx
