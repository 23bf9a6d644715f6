package detect

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"bimamba/neon"
)

// Kernels is which kernels of package neon run here, and whether they are right.
type Kernels struct {
	Sets   []string `json:"sets"`             // that this CPU can run, the fastest last
	InUse  string   `json:"in_use"`           //
	Why    string   `json:"why"`              //
	Forced string   `json:"forced,omitempty"` // what $BIMAMBA_KERNEL asks for
	Error  string   `json:"error,omitempty"`  // that it is not here
	Cores  []int    `json:"tested_on_cpus"`   // where the self-test ran; none: on whichever it was
	Faults []Fault  `json:"faults"`           // what it found
}

// Fault is a kernel that computes something else than it should.
type Fault struct {
	CPU     int    `json:"cpu"` // -1 if unknown
	Kernels string `json:"kernels"`
	Name    string `json:"name"`
}

// TestKernels runs neon.SelfTest on every core that this process may use. No kernel may be running.
func TestKernels() *Kernels {
	k := &Kernels{Sets: neon.Kernels(), Forced: os.Getenv("BIMAMBA_KERNEL"), Cores: []int{}, Faults: []Fault{}}
	var err error
	if k.InUse, err = neon.Kernel(); err != nil {
		k.Error = err.Error()
	}
	k.Why = why(k)

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	if unix.SchedGetaffinity(0, &all) == nil {
		defer unix.SchedSetaffinity(0, &all)
	}
	for n := range len(all) * 64 {
		var one unix.CPUSet
		if one.Set(n); !all.IsSet(n) || unix.SchedSetaffinity(0, &one) != nil {
			continue
		}
		k.Cores = append(k.Cores, n)
		for _, f := range neon.SelfTest() {
			k.Faults = append(k.Faults, Fault{n, f.Kernels, f.Name})
		}
	}
	if len(k.Cores) == 0 { // where threads cannot be pinned
		for _, f := range neon.SelfTest() {
			k.Faults = append(k.Faults, Fault{-1, f.Kernels, f.Name})
		}
	}
	return k
}

// why says why the set in use is.
func why(k *Kernels) string {
	var parts []string
	switch {
	case k.Error != "":
		parts = append(parts, "BIMAMBA_KERNEL asks for kernels that are not here")
	case k.Forced != "":
		parts = append(parts, "BIMAMBA_KERNEL asks for it")
	case len(k.Sets) == 1:
		parts = append(parts, fmt.Sprintf("this program (GOARCH=%s) has no others for this CPU", runtime.GOARCH))
	default:
		parts = append(parts, "the fastest of "+strings.Join(k.Sets, ", "))
	}
	switch k.InUse {
	case "neon":
		parts = append(parts, "1-bit weights go through TBL, which every arm64 CPU has")
		if cpu.ARM64.HasASIMDDP {
			parts = append(parts, "8-bit heads through SDOT (asimddp)")
		} else {
			parts = append(parts, "8-bit heads through SMLAL, as this CPU has no SDOT (asimddp)")
		}
	case "avx512":
		if cpu.X86.HasAVX512VNNI {
			parts = append(parts, "8-bit and 4-bit heads through VNNI")
		} else {
			parts = append(parts, "8-bit and 4-bit heads without VNNI, which this CPU lacks")
		}
	}
	return strings.Join(parts, "; ")
}
