// Package sensor reads power, temperature, clocks and throttling of small boards, and makes joules of them.
//
// [Find] looks for what the board has without being told: the rails of the Raspberry Pi 5's power chip, the firmware of every Raspberry Pi,
// Jetson's INA3221, other chips under hwmon, RAPL, the battery, and the kernel's temperatures and clocks. What must be described by its user is opened by name:
// [OpenINA] for a chip on an I2C bus and [OpenMeter] for a command that prints watts.
//
// # No reading is never 0
//
// Text that is cut off, malformed or out of any board's range makes Read fail with a reason. A [Sample] says in Has which of its quantities were read;
// the others mean nothing.
//
// # Joules
//
// A [Recorder] samples a [Sensor] in the background into memory that it has from the start; [Integrate] makes an [Energy] of samples.
// Both use the monotonic clock where samples carry it, leave gaps out and say so, and answer [ErrTooShort] for fewer than [MinSamples] samples.
// [Energy.Above] takes the power at idle off. A [Calibration] carries the sum of rails to what a wall meter shows.
package sensor
