package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrUnavailable is wrapped by errors that say that this kernel, or this program, cannot enforce the rules.
var ErrUnavailable = errors.New("the sandbox is not available")

// Rules are what the process may still do. A directory stands for all that is beneath it, now and later.
type Rules struct {
	Read    []string // files and directories to read; one that is missing is left out
	Write   []string // directories to read and to make, change, link and remove regular files and directories in; they have to exist
	Sockets []string // directories to make and remove Unix sockets in; one that is missing is left out

	AnyTCP  bool     // leave TCP as it is; even without it, Landlock does not look at Multipath TCP
	Bind    []uint16 // otherwise, ports to listen on
	Connect []uint16 // and to connect to, on any machine

	Require bool // it is an error if the kernel has no Landlock
}

// Report is what Restrict did.
type Report struct {
	NoNewPrivs bool     // neither set-user-ID bits nor file capabilities count any more
	ABI        int      // version of Landlock's interface; 0: files and sockets are as they were
	TCP        bool     // plain TCP is restricted, which needs version 4
	Missing    []string // paths of Rules that were left out because they do not exist
	Reason     string   // why the ABI is 0
}

// String is the report as a line for the log.
func (r Report) String() string {
	var s string
	switch {
	case r.ABI == 0:
		s = "files are not restricted: " + r.Reason
	case r.TCP:
		s = fmt.Sprintf("files and plain TCP are restricted (Landlock %d)", r.ABI)
	default:
		s = fmt.Sprintf("files are restricted (Landlock %d)", r.ABI)
	}
	if r.NoNewPrivs {
		s += ", no new privileges"
	}
	if len(r.Missing) > 0 {
		s += ", without what is not there: " + strings.Join(r.Missing, ", ")
	}
	return s
}

// Rights to files (linux/landlock.h), and the versions that brought them.
const (
	fileRead   = unix.LANDLOCK_ACCESS_FS_READ_FILE
	fileWrite  = fileRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	dirRead    = fileRead | unix.LANDLOCK_ACCESS_FS_READ_DIR
	dirWrite   = dirRead | fileWrite | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REFER
	dirSockets = unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE

	// allFiles is what is forbidden but for the rules: all of version 1, execution too.
	allFiles = 1<<13 - 1
	tcp      = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
)

// handled is the rights to files that a version knows.
func handled(abi int) uint64 {
	rights := uint64(allFiles)
	if abi >= 2 {
		rights |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		rights |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		rights |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return rights
}

// Restrict enforces the rules on all threads of the process. Without Landlock in the kernel it sets no_new_privs alone, says so in the report, and fails only
// if the rules require more. After another error the process may be restricted in part and should end.
func Restrict(r Rules) (Report, error) {
	var report Report
	// The attribute belongs to a thread, and Landlock asks for it. Programs with cgo cannot reach their other threads (syscall.AllThreadsSyscall says ENOTSUP).
	if _, _, e := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
		report.Reason = fmt.Sprintf("no_new_privs on all threads: %v", e)
		if e == syscall.ENOTSUP {
			report.Reason = "the program was built with cgo"
		}
		return r.unavailable(report)
	}
	report.NoNewPrivs = true
	abi, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		report.Reason = fmt.Sprintf("the kernel has no Landlock (%v)", e)
		return r.unavailable(report)
	}
	set, err := newRuleset(int(abi), !r.AnyTCP)
	if err != nil {
		return report, err
	}
	defer unix.Close(set.fd)
	for _, rule := range []struct {
		paths    []string
		rights   uint64
		optional bool
	}{{r.Read, dirRead, true}, {r.Write, dirWrite, false}, {r.Sockets, dirSockets, true}} {
		for _, path := range rule.paths {
			err := set.allow(path, rule.rights)
			if rule.optional && errors.Is(err, fs.ErrNotExist) {
				report.Missing = append(report.Missing, path)
				continue
			}
			if err != nil {
				return report, err
			}
		}
	}
	if set.net != 0 {
		report.TCP = true
		if err := errors.Join(set.allowPorts(r.Bind, unix.LANDLOCK_ACCESS_NET_BIND_TCP), set.allowPorts(r.Connect, unix.LANDLOCK_ACCESS_NET_CONNECT_TCP)); err != nil {
			return report, err
		}
	}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(set.fd), 0, 0); e != 0 {
		return report, os.NewSyscallError("landlock_restrict_self", e)
	}
	report.ABI = int(abi)
	return report, nil
}

// unavailable is the end without Landlock.
func (r *Rules) unavailable(report Report) (Report, error) {
	if r.Require {
		return report, fmt.Errorf("%w: %s; do not require it, or use a kernel with CONFIG_SECURITY_LANDLOCK", ErrUnavailable, report.Reason)
	}
	return report, nil
}

// ruleset is Landlock's, with the rights that it handles.
type ruleset struct {
	fd    int
	files uint64
	net   uint64
}

// newRuleset starts a set that allows nothing. Signals and abstract sockets (version 6) are left alone: before Linux 6.15 a scope of signals would part this
// program's own threads, and the service manager may listen on an abstract socket.
func newRuleset(abi int, restrictTCP bool) (*ruleset, error) {
	s := &ruleset{files: handled(abi)}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: s.files}
	size := unsafe.Sizeof(attr.Handled_access_fs) // what version 1 knows
	if abi >= 4 && restrictTCP {
		s.net = tcp
		attr.Handled_access_net = s.net
		size += unsafe.Sizeof(attr.Handled_access_net)
	}
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if e != 0 {
		return nil, os.NewSyscallError("landlock_create_ruleset", e)
	}
	s.fd = int(fd)
	return s, nil
}

// allow grants rights beneath path, or to the file at path those that a file can have.
func (s *ruleset) allow(path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "allow", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "allow", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileWrite
	}
	if rights &= s.files; rights == 0 {
		return &fs.PathError{Op: "allow", Path: path, Err: unix.ENOTDIR}
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(s.fd), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if e != 0 {
		return &fs.PathError{Op: "allow", Path: path, Err: e}
	}
	return nil
}

// netPort is struct landlock_net_port_attr.
type netPort struct{ access, port uint64 }

// ruleNetPort is LANDLOCK_RULE_NET_PORT.
const ruleNetPort = 2

func (s *ruleset) allowPorts(ports []uint16, right uint64) error {
	for _, p := range ports {
		attr := netPort{right, uint64(p)}
		_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(s.fd), ruleNetPort, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
		if e != 0 {
			return fmt.Errorf("allow TCP port %d: %w", p, e)
		}
	}
	return nil
}
