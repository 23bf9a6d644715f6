package grammar_test

import (
	"errors"
	"fmt"

	"bimamba/edge/grammar"
)

func ExampleSchema() {
	_, err := grammar.Schema([]byte(`{"type": "object", "properties": {"age": {"type": "integer", "minimum": 9, "maximum": 3}}}`))
	fmt.Println(err)
	var e *grammar.Error
	fmt.Println(errors.As(err, &e), e.Path)
	// Output:
	// schema, at /properties/age: no number lies between the minimum and the maximum
	// true /properties/age
}
