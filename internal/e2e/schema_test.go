package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	pairs    = 1000 // of a schema and a seed, for each model
	parallel = 4
	// room is how many tokens an answer may have beyond those that a short one needs.
	room = 120
)

// validator compiles a schema as the daemon gets it.
func validator(s object) (*jsonschema.Schema, []byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, nil, err
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		return nil, b, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", v); err != nil {
		return nil, b, err
	}
	compiled, err := c.Compile("schema.json")
	return compiled, b, err
}

func validate(s *jsonschema.Schema, text string) error {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// TestGenerator: its examples are valid.
func TestGenerator(t *testing.T) {
	for i := range uint64(pairs) {
		s, example := schema(i)
		v, b, err := validator(s)
		if err == nil {
			err = validate(v, example)
		}
		if err != nil {
			t.Errorf("schema %d, %s: %s: %v", i, b, example, err)
		}
	}
}

// TestSchemas asks for answers to random schemas at a temperature at which a model says anything. There is always room for a short answer, so each has
// to be whole and valid. Every tenth request has less room than that: its answer is valid or is said to be cut, and only those are not counted.
func TestSchemas(t *testing.T) {
	for _, model := range []string{"instruct", "default"} {
		t.Run(model, func(t *testing.T) {
			n := uint64(pairs)
			if testing.Short() {
				n = 100
			}
			d := start(t, model, "--sessions", fmt.Sprint(parallel), "--queue", fmt.Sprint(parallel))
			var next, tokens atomic.Uint64
			var valid, cut atomic.Int64
			var wg sync.WaitGroup
			for range parallel {
				wg.Go(func() {
					for {
						i := next.Add(1) - 1
						if i >= n+n/10 || t.Failed() && i%100 == 99 {
							return
						}
						s, example := schema(i)
						v, b, err := validator(s)
						if err != nil {
							t.Errorf("schema %d, %s: %v", i, b, err)
							return
						}
						// Every byte is a token, and no token is less: so many are enough.
						enough := len(example)
						limit := enough + int(i%7)*room/6
						if i >= n {
							limit = 1 + int(i)%enough
						}
						status, body := d.ask("/v1/chat/completions", map[string]any{
							"messages": []message{{"user", "Say something."}}, "max_tokens": limit, "temperature": 1.5, "seed": i,
							"response_format": map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "x", "schema": json.RawMessage(b)}},
						})
						var a answer
						if json.Unmarshal(body, &a); status != http.StatusOK || len(a.Choices) != 1 {
							t.Errorf("schema %d, %s: status %d, %s", i, b, status, body)
							continue
						}
						tokens.Add(uint64(a.Usage.Completion))
						text := a.Choices[0].Message.Content
						switch a.Choices[0].FinishReason {
						case "stop":
							if err := validate(v, text); err != nil {
								t.Errorf("schema %d, %s, %d tokens: %s: %v", i, b, limit, text, err)
							} else if i < n {
								valid.Add(1)
							}
						case "length":
							if limit >= enough {
								t.Errorf("schema %d, %s: cut at %d tokens, where %s has %d bytes: %s", i, b, limit, example, enough, text)
							}
							cut.Add(1)
						default:
							t.Errorf("schema %d ends with %q", i, a.Choices[0].FinishReason)
						}
					}
				})
			}
			wg.Wait()
			if !t.Failed() && valid.Load() != int64(n) {
				t.Errorf("%d of %d answers are valid", valid.Load(), n)
			}
			if c := uint64(cut.Load()); c == 0 || c == n/10 {
				t.Errorf("%d of %d answers with too little room were cut", c, n/10)
			}
			t.Logf("%d pairs valid; of %d with too little room %d were cut; %d tokens", valid.Load(), n/10, cut.Load(), tokens.Load())
		})
	}
}
