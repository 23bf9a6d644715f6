package wyoming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"bimamba/edge/home"
)

// Client is a connection to a service. One call runs at a time; the context of each bounds it. A call that was cut short leaves the connection unusable, and
// services may go on answering audio after an answer: a connection is good for one call of Transcribe or Detect. Errors that a service sends are *[Error]s.
type Client struct {
	net  net.Conn
	r    *Reader
	wmu  sync.Mutex
	addr string
}

// ParseURI reads tcp://HOST:PORT or unix://PATH, as package net has it.
func ParseURI(uri string) (network, address string, err error) {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
	case u.Scheme == "tcp" && u.Port() != "" && u.Path == "" && u.User == nil && u.RawQuery == "" && u.Fragment == "":
		return "tcp", u.Host, nil
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return "unix", u.Path, nil
	}
	return "", "", fmt.Errorf("%q is no address of a Wyoming service; write tcp://HOST:PORT or unix:///PATH", uri)
}

// Dial connects to tcp://HOST:PORT or unix://PATH.
func Dial(ctx context.Context, uri string) (*Client, error) {
	network, address, err := ParseURI(uri)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return NewClient(c), nil
}

// NewClient is a client on a connection, which it closes.
func NewClient(c net.Conn) *Client {
	return &Client{net: c, r: NewReader(c, Limits{}), addr: c.RemoteAddr().String()}
}

// Close closes the connection. A call under way ends.
func (c *Client) Close() error { return c.net.Close() }

// within makes the connection's reads and writes end with ctx, until done is called.
func (c *Client) within(ctx context.Context) (done func()) {
	stop := context.AfterFunc(ctx, func() { c.net.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// failure is an error of the connection, or why the context ended.
func (c *Client) failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("wyoming service at %s: %w", c.addr, err)
}

// send writes an event.
func (c *Client) send(kind string, data any, payload []byte) error {
	e, err := NewEvent(kind, data)
	if err != nil {
		return err
	}
	e.Payload = payload
	b, err := Append(nil, e)
	if err != nil {
		return err
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_, err = c.net.Write(b)
	return err
}

// receive reads events until one has a type of those that are waited for. An error event ends it, too.
func (c *Client) receive(kinds ...string) (*Event, error) {
	for {
		e, err := c.r.Read()
		if err != nil {
			return nil, err
		}
		if e.Type == typeError {
			var out Error
			if err := e.Decode(&out); err != nil {
				return nil, err
			}
			return nil, &out
		}
		for _, k := range kinds {
			if e.Type == k {
				return e, nil
			}
		}
	}
}

// ask sends an event and decodes the answer's data.
func (c *Client) ask(ctx context.Context, kind string, data any, answer string, out any) error {
	defer c.within(ctx)()
	err := c.send(kind, data, nil)
	var e *Event
	if err == nil {
		e, err = c.receive(answer)
	}
	if err == nil {
		err = e.Decode(out)
	}
	return c.failure(ctx, err)
}

// Describe is what the service says of itself.
func (c *Client) Describe(ctx context.Context) (*Info, error) {
	var i Info
	if err := c.ask(ctx, typeDescribe, nil, typeInfo, &i); err != nil {
		return nil, err
	}
	return &i, nil
}

// Ping waits for the service to answer.
func (c *Client) Ping(ctx context.Context) error {
	return c.ask(ctx, typePing, nil, typePong, new(spoken))
}

// Reply is how a service answers what somebody said.
type Reply struct {
	Type    string   // of the event that ended it: TypeIntent, TypeNotRecognized, TypeHandled or TypeNotHandled
	Intents []Intent // with TypeIntent
	Text    string   // what to say, "" for nothing
}

// maxIntents is how many intents of an answer are taken.
const maxIntents = 256

// Handle asks the service to understand what somebody said, or to do it.
func (c *Client) Handle(ctx context.Context, r home.Request) (*Reply, error) {
	defer c.within(ctx)()
	err := c.send(typeTranscript, utterance{r.Text, r.Language, session{r.Conversation, r.Device}}, nil)
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	reply, err := c.reply()
	return reply, c.failure(ctx, err)
}

// reply reads the events of an answer to its end.
func (c *Client) reply() (*Reply, error) {
	out, several := &Reply{Type: TypeIntent}, false
	for {
		e, err := c.receive(TypeIntent, TypeNotRecognized, TypeHandled, TypeNotHandled, typeIntentsStart, typeIntentsStop)
		if err != nil {
			return nil, err
		}
		switch e.Type {
		case typeIntentsStart:
			several = true
		case typeIntentsStop:
			return out, nil
		case TypeIntent:
			var i Intent
			if err := e.Decode(&i); err != nil {
				return nil, err
			}
			if len(out.Intents) == maxIntents {
				return nil, malformed("the answer has more than %d intents", maxIntents)
			}
			if out.Intents = append(out.Intents, i); out.Text == "" {
				out.Text = i.Text
			}
			if !several {
				return out, nil
			}
		default:
			var said spoken
			err := e.Decode(&said)
			return &Reply{Type: e.Type, Text: said.Text}, err
		}
	}
}

// Transcript is what a service heard.
type Transcript struct {
	Text     string `json:"text"`
	Language string `json:"language"` // "" where the service does not say
}

// Transcribe sends audio to its end and returns what the service heard. Each read of r is a chunk. name and language choose a model; "" leaves that to the
// service. It returns when the read of r that is under way does, or when ctx ends.
func (c *Client) Transcribe(ctx context.Context, name, language string, f Format, r io.Reader) (*Transcript, error) {
	type request struct {
		Name     string `json:"name,omitempty"`
		Language string `json:"language,omitempty"`
	}
	e, err := c.stream(ctx, typeTranscribe, request{name, language}, f, r, typeTranscript)
	if err != nil {
		return nil, err
	}
	var out Transcript
	return &out, c.failure(ctx, e.Decode(&out))
}

// Detection is a wake word that was heard.
type Detection struct {
	Name      string `json:"name"`
	Timestamp *int64 `json:"timestamp"` // of the audio, in milliseconds from its start; nil where the service does not say
}

// Detect sends audio until the service hears a wake word: one of names, or any where there are none. Its result is nil if r ends before. It returns when the read
// of r that is under way does, so that what r gives after that is not lost, or when ctx ends.
func (c *Client) Detect(ctx context.Context, names []string, f Format, r io.Reader) (*Detection, error) {
	e, err := c.stream(ctx, typeDetect, struct {
		Names []string `json:"names,omitempty"`
	}{names}, f, r, typeDetection, typeNotDetected)
	if err != nil || e.Type == typeNotDetected {
		return nil, err
	}
	var out Detection
	return &out, c.failure(ctx, e.Decode(&out))
}

// stream sends a request and audio until an answer comes. Audio that ends is waited on for its answer.
func (c *Client) stream(ctx context.Context, kind string, data any, f Format, r io.Reader, answers ...string) (*Event, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	defer c.within(ctx)()
	if err := errors.Join(c.send(kind, data, nil), c.send(typeAudioStart, audioData{Format: f}, nil)); err != nil {
		return nil, c.failure(ctx, err)
	}
	sending, answered := context.WithCancel(ctx)
	defer answered()
	sent := make(chan error, 1)
	go func() {
		err := c.sendAudio(sending, f, r)
		if _, ok := errors.AsType[*audioError](err); ok {
			c.net.SetReadDeadline(time.Unix(1, 0)) // no answer comes
		} else if err != nil {
			c.net.SetReadDeadline(time.Now().Add(lastWords))
		}
		sent <- err
	}()
	e, err := c.receive(answers...)
	answered()
	select {
	case sendErr := <-sent:
		if sendErr != nil && err != nil && !errors.As(err, new(*Error)) {
			err = sendErr
		}
	case <-ctx.Done():
	}
	return e, c.failure(ctx, err)
}

// lastWords is how long a service that takes no more audio has to say why.
const lastWords = 300 * time.Millisecond

// audioError is an error of the audio's source.
type audioError struct{ err error }

func (e *audioError) Error() string { return "the audio: " + e.err.Error() }
func (e *audioError) Unwrap() error { return e.err }

// sendAudio sends what r gives, until it ends or an answer is there.
func (c *Client) sendAudio(ctx context.Context, f Format, r io.Reader) error {
	buf := make([]byte, chunkBytes-chunkBytes%f.Frame())
	var sent int64 // bytes
	for ctx.Err() == nil {
		n, err := readFrames(r, buf, f.Frame())
		if n > 0 && ctx.Err() == nil {
			at := f.milliseconds(sent)
			if err := c.send(typeAudioChunk, audioData{f, &at}, buf[:n]); err != nil {
				return err
			}
			sent += int64(n)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return &audioError{err}
		}
	}
	at := f.milliseconds(sent)
	return c.send(typeAudioStop, stopData{&at}, nil)
}

// Voice chooses how a service speaks. Empty fields leave that to the service.
type Voice struct {
	Name     string `json:"name,omitempty"`
	Language string `json:"language,omitempty"`
	Speaker  string `json:"speaker,omitempty"`
}

// Synthesize has the service say text. play gets the audio as it comes, each call with whole frames, all of one format; its error ends it.
func (c *Client) Synthesize(ctx context.Context, text string, v Voice, play func(Format, []byte) error) error {
	defer c.within(ctx)()
	err := c.send(typeSynthesize, struct {
		Text  string `json:"text"`
		Voice Voice  `json:"voice,omitzero"`
	}{text, v}, nil)
	if err == nil {
		err = c.listen(play)
	}
	return c.failure(ctx, err)
}

// listen reads audio to its end.
func (c *Client) listen(play func(Format, []byte) error) error {
	var f *Format
	for {
		e, err := c.receive(typeAudioStart, typeAudioChunk, typeAudioStop)
		if err != nil {
			return err
		}
		if e.Type == typeAudioStop {
			return nil
		}
		var data audioData
		if err := e.Decode(&data); err != nil {
			return err
		}
		if err := data.Format.check(); err != nil {
			return malformed("%s: %v", e.Type, err)
		}
		if f == nil {
			f = &data.Format
		}
		if data.Format != *f {
			return malformed("the audio changes from %v to %v", *f, data.Format)
		}
		if len(e.Payload)%f.Frame() != 0 {
			return malformed("%d bytes of audio are no whole number of samples of %v", len(e.Payload), *f)
		}
		if len(e.Payload) > 0 {
			if err := play(*f, e.Payload); err != nil {
				return err
			}
		}
	}
}
