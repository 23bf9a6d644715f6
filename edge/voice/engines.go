package voice

import (
	"fmt"
	"strings"
	"time"

	"bimamba/edge/api/wyoming"
)

// wakeLimit is how long a look for the wake word may take.
const wakeLimit = 20 * time.Second

// isService says whether an engine is a Wyoming service.
func isService(spec string) bool { return strings.Contains(spec, "://") }

// NewRecognizer makes the engine that spec names: tcp://HOST:PORT or unix://PATH of a Wyoming service, "command ARGV", or "pocketsphinx", for which s has to be there.
func NewRecognizer(spec, language string, s *Sphinx) (Recognizer, error) {
	switch line, isCommand := strings.CutPrefix(spec, "command "); {
	case spec == "pocketsphinx":
		return s, nil
	case isCommand:
		return checked(line)
	case isService(spec):
		if _, _, err := wyoming.ParseURI(spec); err != nil {
			return nil, err
		}
		return &service{spec, language}, nil
	}
	return nil, fmt.Errorf("%q is no engine; write tcp://HOST:PORT, unix://PATH, 'command PROGRAM ARGUMENT ...' or pocketsphinx", spec)
}

// voices are commands that speak.
var voices = map[string]string{
	"flite":     "flite -voice slt -t {text} -o {wav}",
	"espeak-ng": "espeak-ng -w {wav} --stdin",
}

// NewSynthesizer makes the engine that spec names: a Wyoming service, "command ARGV", "flite" or "espeak-ng"; nil for "off".
func NewSynthesizer(spec, language string) (Synthesizer, error) {
	line, isCommand := strings.CutPrefix(spec, "command ")
	if v, ok := voices[spec]; ok {
		line, isCommand = v, true
	}
	switch {
	case spec == "off":
		return nil, nil
	case isCommand:
		return checked(line)
	case isService(spec):
		if _, _, err := wyoming.ParseURI(spec); err != nil {
			return nil, err
		}
		return &service{spec, language}, nil
	}
	return nil, fmt.Errorf("%q is no engine; write tcp://HOST:PORT, unix://PATH, 'command PROGRAM ARGUMENT ...', flite, espeak-ng or off", spec)
}

// NewWaker makes the engine that spec names: a Wyoming service, "command ARGV", "pocketsphinx", for which s has to be there; nil for "off".
func NewWaker(spec, word string, s *Sphinx) (Waker, error) {
	switch line, isCommand := strings.CutPrefix(spec, "command "); {
	case spec == "off":
		return nil, nil
	case spec == "pocketsphinx":
		return Spotting(s, wakeLimit), nil
	case isCommand:
		c, err := checked(line)
		if err != nil {
			return nil, err
		}
		return Spotting(c, wakeLimit), nil
	case isService(spec):
		if _, _, err := wyoming.ParseURI(spec); err != nil {
			return nil, err
		}
		var names []string
		if word != "" {
			names = []string{strings.ReplaceAll(word, " ", "_")} // as openWakeWord's models are called
		}
		return &wakeService{service: service{uri: spec}, names: names}, nil
	}
	return nil, fmt.Errorf("%q is no engine; write tcp://HOST:PORT, unix://PATH, 'command PROGRAM ARGUMENT ...', pocketsphinx or off", spec)
}

// checked is a command that is there.
func checked(line string) (*command, error) {
	c, err := newCommand(line)
	if err != nil {
		return nil, err
	}
	return c, c.find()
}
