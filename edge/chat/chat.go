package chat

import (
	"context"
	"encoding/json"
	"time"

	"bimamba/edge/engine"
)

// Role is who speaks a message.
type Role string

// Roles.
const (
	System    Role = "system"
	User      Role = "user"
	Assistant Role = "assistant"
	Tool      Role = "tool"
)

// Message is one message of a conversation.
type Message struct {
	Role      Role
	Text      string
	ToolCalls []ToolCall // of an assistant
	ToolName  string     // of a tool: which one answered, "" if the client does not say
	CallID    string     // of a tool: the call that it answers, "" if the client does not say
}

// ToolCall is a call that the model makes, or made earlier in the conversation.
type ToolCall struct {
	ID        string
	Name      string
	Arguments json.RawMessage // an object
}

// ToolDef is a tool that a client offers.
type ToolDef struct {
	Name        string
	Description string
	Parameters  json.RawMessage // a JSON Schema of an object; empty for none
}

// ToolChoice is whether tools may or must be called.
type ToolChoice string

// Choices. Any other value is the name of the tool that must be called.
const (
	ToolAuto     ToolChoice = ""         // the model decides
	ToolNone     ToolChoice = "none"     // no calls
	ToolRequired ToolChoice = "required" // at least one
)

// Format is what an answer's text must be. The zero value is any text.
type Format struct {
	JSON   bool            // an object
	Schema json.RawMessage // if not empty, JSON of this schema
}

// Sampling changes the model's own sampling where it is not nil.
type Sampling struct {
	Temperature, TopP, MinP, RepetitionPenalty *float32
	PresencePenalty, FrequencyPenalty          *float32
	TopK                                       *int
	Seed                                       *uint64
}

// Options are those of a chat and of a completion.
type Options struct {
	MaxTokens int // of the answer; 0 means the service's default
	Sampling  Sampling
	Stop      []string
	Format    Format
	Session   string // names the conversation for snapshots, "" if it has no name
	LogProbs  bool   // of the answer's tokens
	TopTokens int    // with LogProbs: so many of the likeliest tokens at each place, MaxTopTokens at most
}

// MaxTopTokens is the most that Options.TopTokens can be.
const MaxTopTokens = 20

// Request is one turn of a conversation.
type Request struct {
	Model    string // as the client names it: see Service.Find; "" is the service's own
	Messages []Message
	Tools    []ToolDef
	Choice   ToolChoice
	Options
}

// Completion asks for the continuation of a text.
type Completion struct {
	Model  string
	Prompt string
	IDs    []uint32 // the prompt as token ids, instead of Prompt
	Raw    bool     // nothing is put around the prompt: no BOS, no task, no turn
	System string   // if not Raw and the model answers turns
	Echo   bool     // Reply.Prompt gets the prompt's tokens, with their probabilities if LogProbs is set
	Options
}

// Token is one token with its probability.
type Token struct {
	Bytes   []byte  // may be a part of a character
	LogProb float64 // natural logarithm; of the first token of a prompt NaN
	Top     []Token // the likeliest tokens at its place, without Top
}

// Event is a part of an answer, as soon as it is known.
type Event struct {
	Text     string    // "" if none
	ToolCall *ToolCall // a whole call
	Tokens   []Token   // with Options.LogProbs
}

// FinishReason says why an answer ended.
type FinishReason string

// Reasons.
const (
	FinishStop      FinishReason = "stop"       // the model or a stop string ended it
	FinishLength    FinishReason = "length"     // MaxTokens
	FinishToolCalls FinishReason = "tool_calls" // it ends with calls
)

// Usage counts tokens.
type Usage struct {
	Prompt     int
	Cached     int // of Prompt: found computed
	Completion int
}

// Timing says where the time of a request went.
type Timing struct {
	Queued  time.Duration
	Prefill time.Duration // for Prompt - Cached tokens
	Decode  time.Duration // for Completion tokens
	Began   time.Time     // when Queued was over; zero if nothing was computed
	Share   time.Duration // of the time since then, less what other requests had by their shares of the tokens in each pass
}

// Reply is a whole answer.
type Reply struct {
	Model     string // the model's canonical name
	Text      string // what the events' texts are together
	ToolCalls []ToolCall
	Finish    FinishReason
	Usage     Usage
	Timing    Timing
	Energy    *Energy // nil without a sensor
	Prompt    []Token // with Completion.Echo
	Tokens    []Token // with LogProbs
}

// Info describes a model that the service answers for.
type Info struct {
	Name          string // canonical: lower case, as clients name it
	Kind          string // base, instruct, intent
	Tools         bool   // it can call tools
	Task          string // of an intent model: the one that this name asks for
	Persona       string // of a baked persona: its name
	System        string // of a persona: the system text that it stands for
	Digest        string // hex SHA-256 of the blob's manifest
	Size          int64  // bytes of the file
	Resident      int64  // bytes in use when every page of the file has been touched
	Modified      time.Time
	Family        string // of the source
	Parameters    int64  // how many weights
	Quantization  string // of the projections: "1bit", "i8", ...
	License       string
	Description   string
	MaxPrompt     int // tokens
	Defaults      engine.Defaults
	VocabSize     int
	DModel, Layer int
	Turns         string // the prompt table, as text for people: what is put around a turn
}

// Service answers chats and completions. Its methods may be called from several goroutines.
//
// Errors that a client can cause or must know about are *Error.
type Service interface {
	// Models lists the names that the service answers for, the canonical one first.
	Models() []Info
	// Find is the model that a client means by a name: "", the blob's name, "default" and what follows a colon: ":latest", a task of an
	// intent model, a persona.
	Find(name string) (Info, error)
	// Chat answers the last message. emit, if not nil, gets the answer in parts, on the caller's goroutine; its error ends the request and is returned.
	Chat(ctx context.Context, r *Request, emit func(Event) error) (*Reply, error)
	// Complete continues a text.
	Complete(ctx context.Context, r *Completion, emit func(Event) error) (*Reply, error)
}
