package chat

import "math"

// Energy is what an answer took: the board's mean power while it was computed, over its share of that time ([Timing]). So requests that run at the same time share
// the board's energy, by their tokens. In JSON it is what clients get.
type Energy struct {
	Joules      *float64 `json:"joules"`            // nil: see Reason
	AboveIdle   *float64 `json:"above_idle_joules"` // less what the board would have taken anyway; nil while that is not known
	Uncertainty *float64 `json:"uncertainty"`       // of Joules, one standard deviation
	Samples     int      `json:"samples"`           // of the sensor, while it was computed
	Sensor      string   `json:"sensor"`
	Reason      string   `json:"reason,omitempty"` // why there are no joules, such as "too short: ..."
}

// Plus is the energy of two answers together: unknown if one of them is. Either may be nil.
func (e *Energy) Plus(o *Energy) *Energy {
	if e == nil || o == nil {
		return nil
	}
	sum := &Energy{
		Joules: plus(e.Joules, o.Joules), AboveIdle: plus(e.AboveIdle, o.AboveIdle), Uncertainty: plus(e.Uncertainty, o.Uncertainty), // the sensor errs the same way in both
		Samples: e.Samples + o.Samples, Sensor: e.Sensor, Reason: e.Reason,
	}
	if sum.Reason == "" {
		sum.Reason = o.Reason
	}
	return sum
}

func plus(a, b *float64) *float64 {
	if a == nil || b == nil {
		return nil
	}
	return Round(*a + *b)
}

// Round is v to a tenth of a millijoule, for the fields of an Energy.
func Round(joules float64) *float64 {
	v := math.Round(joules*1e4) / 1e4
	return &v
}
