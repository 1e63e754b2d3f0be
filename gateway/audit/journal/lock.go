//go:build unix

package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/grensloos/grensloos/gateway"
)

// lock takes the folder for this process. The lock ends with the process, also by kill -9; the number in the file is for the
// message only.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		var pid [32]byte
		n, _ := f.ReadAt(pid[:], 0)
		_ = f.Close()
		return nil, &gateway.Error{
			Kind:    gateway.Conflict,
			Message: fmt.Sprintf("journal %s is in use by process %s: stop that one, or give this one a folder of its own", dir, strings.TrimSpace(string(pid[:n]))),
			Cause:   err,
		}
	}
	if err := f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, err
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
