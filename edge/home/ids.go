package home

import (
	"crypto/rand"
	"strconv"
)

// next is an ID that no other action has, of this process or another.
func (x *ids) next() string {
	x.once.Do(func() { x.prefix = rand.Text()[:16] })
	return x.prefix + "-" + strconv.FormatUint(x.n.Add(1), 10)
}
