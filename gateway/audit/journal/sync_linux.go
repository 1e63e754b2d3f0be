package journal

import (
	"errors"
	"os"
	"syscall"
)

// datasync makes what was written to f durable. A segment is filled with zeros ahead, so its size doesn't change and fdatasync
// need not write the inode.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
