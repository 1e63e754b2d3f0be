package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// child is a peer, or some roles of one, in a process of its own.
type child struct {
	name string
	log  string // file
	cmd  *exec.Cmd
	line chan string // the first line of standard output; closed when there is none
	done chan error  // how the process ended; read once by stop
}

// startChild starts `serve` for a peer with the given program, which is grensloos. Its log goes to serve.log beside its
// configuration. env is added to our own environment.
func startChild(ctx context.Context, program string, p *regionPeer, env ...string) (*child, error) {
	return startProcess(ctx, program, p.Name, []string{"-c", p.config()}, env...)
}

// startProcess is startChild with the arguments of serve; the second of them is the file of the configuration.
func startProcess(ctx context.Context, program, name string, args []string, env ...string) (*child, error) {
	c := &child{name: name, log: filepath.Join(filepath.Dir(args[1]), "serve.log"), line: make(chan string, 1), done: make(chan error, 1)}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, append([]string{"serve"}, args...)...) //nolint:gosec // G204: this program itself
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo, which then ends its children in order
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c.cmd = cmd
	go func() {
		lines := bufio.NewScanner(stdout)
		if lines.Scan() {
			c.line <- lines.Text()
		}
		close(c.line)
		_, _ = io.Copy(io.Discard, stdout)
		c.done <- cmd.Wait()
	}()
	return c, nil
}

// ready waits until the peer says that it is, or has died: then the error holds the end of its log.
func (c *child) ready(ctx context.Context, within time.Duration) (string, error) {
	select {
	case line, ok := <-c.line:
		if ok {
			return line, nil
		}
		log, _ := os.ReadFile(c.log) //nolint:gosec // G703: the log of our own child
		return "", fmt.Errorf("%s did not start:\n%s", c.name, log[max(0, len(log)-4000):])
	case <-time.After(within):
		return "", fmt.Errorf("%s is not ready after %v; its log: %s", c.name, within, c.log)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// stop asks the process to end, and after a while makes it.
func (c *child) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-c.done:
		if err != nil {
			log, _ := os.ReadFile(c.log) //nolint:gosec // G703: the log of our own child
			return fmt.Errorf("%s: %w\n%s", c.name, err, log[max(0, len(log)-2000):])
		}
		return nil
	case <-time.After(2 * stopWithin):
		_ = c.cmd.Process.Kill()
		return fmt.Errorf("%s did not stop in time and was killed", c.name)
	}
}
