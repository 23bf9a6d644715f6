package wyoming

import (
	"cmp"
	"slices"
)

// Types of events that this package sends or understands. All others are left out.
const (
	typeDescribe = "describe"
	typeInfo     = "info"
	typePing     = "ping"
	typePong     = "pong"
	typeError    = "error"

	typeTranscribe = "transcribe"
	typeTranscript = "transcript"
	typeRecognize  = "recognize"

	typeAudioStart = "audio-start"
	typeAudioChunk = "audio-chunk"
	typeAudioStop  = "audio-stop"

	typeSynthesize  = "synthesize"
	typeDetect      = "detect"
	typeDetection   = "detection"
	typeNotDetected = "not-detected"

	typeIntentsStart = "intents-start"
	typeIntentsStop  = "intents-stop"
)

// Types of the event that ends an answer, see [Reply].
const (
	TypeIntent        = "intent"
	TypeNotRecognized = "not-recognized"
	TypeHandled       = "handled"
	TypeNotHandled    = "not-handled"
)

// utterance is the data of transcript and recognize.
type utterance struct {
	Text     string  `json:"text"`
	Language string  `json:"language,omitempty"`
	Context  session `json:"context,omitzero"`
}

// session is what of a context is read and sent. Home Assistant sends device_id and satellite_id beside it, which are of its own registries. Area is of
// this project's own: where the speaker is.
type session struct {
	Conversation string `json:"conversation_id,omitempty"`
	Area         string `json:"area,omitempty"`
}

// spoken is the data of events that say something: pong, handled, not-handled, not-recognized.
type spoken struct {
	Text    string  `json:"text,omitempty"`
	Context session `json:"context,omitzero"`
}

// Intent is one intent of an answer.
type Intent struct {
	Name     string   `json:"name"`
	Entities []Entity `json:"entities,omitempty"`
	Text     string   `json:"text,omitempty"` // what to say when it is done, if its handler says nothing
	Context  session  `json:"context,omitzero"`
}

// Entity is a slot of an intent: a string or a number.
type Entity struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

// entities are the slots of an action by their names, in an order that does not change.
func entities(slots map[string]any) []Entity {
	var list []Entity
	for name, value := range slots {
		list = append(list, Entity{name, value})
	}
	slices.SortFunc(list, func(a, b Entity) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Error is an error event: what a service says that it could not do.
type Error struct {
	Text string `json:"text"`
	Code string `json:"code,omitempty"`
}

func (e *Error) Error() string { return e.Text }

// Codes of errors that a [Server] sends of its own.
const (
	CodeFormat   = "format"    // what came is no event
	CodeLength   = "length"    // a text is longer than it may be
	CodeTimeout  = "timeout"   // it took too long
	CodeStopping = "stopping"  // the service ends
	CodeBusy     = "busy"      // there is no room; try again
	CodeInternal = "internal"  // a fault of the service
	CodeGone     = "cancelled" // the peer closed its side before the answer
)
