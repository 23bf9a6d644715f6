// Package voice is the loop of an assistant that listens: microphone, wake word or button, speech to text, understanding, actions, speech.
//
// The engines that hear and speak are other programs, either services of the Wyoming protocol or commands; the loop gives each a time limit, bounds
// what it believes of their output, and goes on when one fails. Home and model are behind the interfaces [Assistant] and [Performer].
package voice
