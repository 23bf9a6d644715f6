package ollama

import (
	"math"
	"sync"
	"time"

	"bimamba/edge/chat"
)

// forever is a keep_alive without end. Added to the time it is in the year 2300 or so, as in Ollama.
const forever time.Duration = math.MaxInt64

// names remembers until when each name would be kept alive, which is what /api/ps tells. The model itself is always mapped.
type names struct {
	mu sync.Mutex
	m  map[string]use // by canonical name
}

type use struct {
	running int // requests
	until   time.Time
}

func (n *names) change(name string, running int, until time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.m == nil {
		n.m = make(map[string]use)
	}
	n.m[name] = use{n.m[name].running + running, until}
}

func (n *names) begin(name string, now time.Time, keep time.Duration) {
	n.change(name, 1, now.Add(keep))
}
func (n *names) end(name string, now time.Time, keep time.Duration) {
	n.change(name, -1, now.Add(keep))
}
func (n *names) set(name string, now time.Time, keep time.Duration) { n.change(name, 0, now.Add(keep)) }

// alive lists the models that are in use or kept, with the times at which they end, and forgets the others.
func (n *names) alive(models []chat.Info, now time.Time) (alive []chat.Info, until []time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, u := range n.m {
		if u.running == 0 && !u.until.After(now) {
			delete(n.m, name)
		}
	}
	for _, info := range models {
		if u, ok := n.m[info.Name]; ok {
			alive, until = append(alive, info), append(until, u.until)
		}
	}
	return alive, until
}
