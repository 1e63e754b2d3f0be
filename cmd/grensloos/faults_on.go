//go:build faults

package main

import (
	"os"
	"syscall"
)

// A binary built with the tag faults kills itself, as a power cut would, right after the step that GRENSLOOS_FAULT names. Only
// the tests of this package build it.

func stepFault() func(step string) {
	at := os.Getenv("GRENSLOOS_FAULT")
	return func(step string) {
		if step == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way; do no next step meanwhile
		}
	}
}

func journalFault() func(step string) error {
	fault := stepFault()
	return func(step string) error {
		fault(step)
		return nil
	}
}
