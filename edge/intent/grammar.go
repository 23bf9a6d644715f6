package intent

import (
	"fmt"
	"sync"

	"bimamba/edge/grammar"
)

const anyString = `{"type":"string"}`

// TaskGrammar is what the model may write for a task when nothing is known of a home: for home a line of JSON with any slots, and a reply; for assist
// JSON with the slots as texts or lists of them; for topics JSON with an intent alone.
func TaskGrammar(task string) (*grammar.Grammar, error) {
	switch task {
	case "home":
		g, err := grammar.Schema([]byte(`{"type":"object","properties":{"intent":` + anyString + `},"required":["intent"],"additionalProperties":{"type":["string","number"]}}`))
		if err != nil {
			return nil, fmt.Errorf("the grammar of the task home: %w", err)
		}
		return grammar.Concat(g, replyEnd()), nil
	case "assist":
		return grammar.Schema([]byte(`{"type":"object","properties":{"intent":` + anyString + `},"required":["intent"],` +
			`"additionalProperties":{"anyOf":[` + anyString + `,{"type":"array","items":` + anyString + `}]}}`))
	case "topics":
		return grammar.Schema([]byte(`{"type":"object","properties":{"intent":` + anyString + `},"required":["intent"],"additionalProperties":false}`))
	}
	return nil, fmt.Errorf("the task %q has no grammar; home, assist and topics have", task)
}

// replyEnd keeps the reply on its line.
var replyEnd = sync.OnceValue(func() *grammar.Grammar { return grammar.Concat(grammar.Choice("\n"), grammar.Text('\n')) })
