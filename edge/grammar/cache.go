package grammar

import (
	"container/list"
	"crypto/sha256"
	"encoding/json"
	"sync"
)

// cacheBytes is what the grammars of a Cache may take together.
const cacheBytes = 8 << 20

// Cache keeps the grammars that were used last. It is safe for concurrent use.
type Cache struct {
	mu       sync.Mutex
	most     int
	bytes    int
	grammars map[[sha256.Size]byte]*list.Element
	order    list.List // of *kept, the one used last in front
}

type kept struct {
	key [sha256.Size]byte
	g   *Grammar
}

// NewCache makes a cache of at most n grammars, and of at most 8 MB unless a single one takes more.
func NewCache(n int) *Cache {
	return &Cache{most: max(n, 1), grammars: map[[sha256.Size]byte]*list.Element{}}
}

// Schema is the function of that name, for a schema of the same bytes compiled once.
func (c *Cache) Schema(raw []byte) (*Grammar, error) {
	return c.get(sha256.Sum256(append([]byte("schema\x00"), raw...)), func() (*Grammar, error) { return Schema(raw) })
}

// Tools is the function of that name, for the same tools compiled once.
func (c *Cache) Tools(tools []Tool, required bool) (*Grammar, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode([]any{"tools", tools, required}); err != nil {
		return Tools(tools, required) // which says where it is not JSON
	}
	return c.get([sha256.Size]byte(h.Sum(nil)), func() (*Grammar, error) { return Tools(tools, required) })
}

func (c *Cache) get(key [sha256.Size]byte, compile func() (*Grammar, error)) (*Grammar, error) {
	c.mu.Lock()
	if e, ok := c.grammars[key]; ok {
		c.order.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(*kept).g, nil
	}
	c.mu.Unlock()
	g, err := compile() // several may compile the same at once, which costs time only
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.grammars[key]; ok {
		return e.Value.(*kept).g, nil
	}
	c.grammars[key] = c.order.PushFront(&kept{key, g})
	for c.bytes += g.Bytes(); c.order.Len() > 1 && (c.order.Len() > c.most || c.bytes > cacheBytes); {
		last := c.order.Remove(c.order.Back()).(*kept)
		delete(c.grammars, last.key)
		c.bytes -= last.g.Bytes()
	}
	return g, nil
}
