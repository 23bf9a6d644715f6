package grammar

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Tool is a function that a model may call.
type Tool struct {
	Name       string
	Parameters json.RawMessage // JSON Schema of an object; without one there are no arguments
}

const maxTools = 128

// Tools is a call of one of the tools,
//
//	{"name": NAME, "arguments": OBJECT}
//
// with its arguments spaced in any way and the rest as it stands here, so that it can be written again from its parts;
// or, if it is not required, any text of which the first character that is not white space is not '{'. Errors are of type *Error, their paths
// begin with the index of the tool.
func Tools(tools []Tool, required bool) (*Grammar, error) {
	if len(tools) == 0 || len(tools) > maxTools {
		return nil, &Error{Message: fmt.Sprintf("%d tools are not within 1 and %d", len(tools), maxTools)}
	}
	c := newCompiler()
	args := make([]int, len(tools))
	for i, t := range tools {
		if j := slices.IndexFunc(tools, func(u Tool) bool { return u.Name == t.Name }); j < i {
			return nil, &Error{fmt.Sprintf("/%d", i), fmt.Sprintf("there is another tool of the name %q", t.Name)}
		}
		r, err := c.arguments(fmt.Sprintf("/%d", i), t)
		if err != nil {
			return nil, err
		}
		args[i] = r
	}
	root := c.b.rule()
	c.b.write(root, func(n *nfa, start, end int) {
		name := n.text(n.space(start), `{"name": `)
		last := n.node()
		for i, t := range tools {
			n.call(n.text(name, quote(t.Name)+`, "arguments": `), args[i], last)
		}
		n.bytes(last, '}', '}', end)
		if !required {
			n.free(start, end)
			n.anyOf(start, " \t\r\n", start)
			body := n.node()
			n.except(start, []byte(" \t\r\n{"), body)
			n.except(body, nil, body)
			n.free(body, end)
		}
	})
	return c.finish(root)
}

// arguments is the rule of a tool's arguments.
func (c *compiler) arguments(path string, t Tool) (int, error) {
	raw := t.Parameters
	if len(raw) == 0 || string(raw) == "null" {
		raw = json.RawMessage(`{"additionalProperties":false}`)
	}
	v, err := parse(raw)
	if err != nil {
		e := err.(*Error)
		return 0, &Error{path + e.Path, e.Message}
	}
	c.root, c.prefix = v, path
	if kinds := c.kinds(v, ""); v.restricts() && kinds&^setOf("object") != 0 {
		return 0, c.errorf("", "parameters have to be the schema of an object")
	}
	if !v.restricts() && v.get("$ref") == nil && v.get("allOf") == nil {
		return c.b.anyObject(), nil
	}
	return c.rule(v, "")
}
