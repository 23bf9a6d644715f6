package chat

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"sync"

	"bimamba/edge/grammar"
)

// recent keeps the last few grammars: a client sends the same things with every request. The zero value is empty.
type recent struct {
	mu   sync.Mutex
	list []*compiled // the one used last in front
}

// compiled is a grammar, or the error of making it.
type compiled struct {
	key     [sha256.Size]byte
	once    sync.Once
	grammar *grammar.Grammar
	err     error
}

const maxRecent = 8

// get is the grammar that compile makes of what the key has: compiled once, while others are looked up. The error may also be the key's, if it is
// no JSON.
func (r *recent) get(key any, compile func() (*grammar.Grammar, error)) (*grammar.Grammar, error) {
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(key); err != nil {
		return nil, err
	}
	x := r.find([sha256.Size]byte(sum.Sum(nil)))
	x.once.Do(func() { x.grammar, x.err = compile() })
	return x.grammar, x.err
}

// find moves the one with the key to the front, which may be new.
func (r *recent) find(key [sha256.Size]byte) *compiled {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.list, func(x *compiled) bool { return x.key == key })
	if i < 0 {
		i = min(len(r.list), maxRecent-1)
		r.list = append(r.list[:i], &compiled{key: key})
	}
	x := r.list[i]
	r.list = slices.Insert(slices.Delete(r.list, i, i+1), 0, x)
	return x
}
