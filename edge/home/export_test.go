package home

// For tests of package home_test.
var (
	FixtureHome = fixtureHome
	HomeRows    = homeRows
	Same        = same
)

// Unlimited takes what the model writes whatever its score.
func (a *Assistant) Unlimited() { a.limits = limits{-1000, -1000} }
