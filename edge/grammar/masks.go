package grammar

import (
	"container/list"
	"sync"
)

// cache keeps what was used last, within a number of bytes. It is safe for concurrent use.
type cache struct {
	mu      sync.Mutex
	entries map[string]*list.Element
	order   list.List // of *entry, the one used last in front
	bytes   int
	limit   int
}

type entry struct {
	key   string
	value any
	bytes int
}

// overhead is about what an entry takes beside its key and value.
const overhead = 200

func newCache(limit int) cache { return cache{entries: map[string]*list.Element{}, limit: limit} }

func (c *cache) get(key []byte) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[string(key)]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry).value
}

// put keeps a value of a size. If there is one by this key it stays, and is returned.
func (c *cache) put(key []byte, value any, bytes int) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[string(key)]; ok {
		return e.Value.(*entry).value
	}
	x := &entry{string(key), value, bytes + 2*len(key) + overhead}
	c.entries[x.key] = c.order.PushFront(x)
	for c.bytes += x.bytes; c.bytes > c.limit && c.order.Len() > 1; {
		last := c.order.Remove(c.order.Back()).(*entry)
		delete(c.entries, last.key)
		c.bytes -= last.bytes
	}
	return value
}
