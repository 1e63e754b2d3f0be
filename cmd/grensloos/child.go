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

// child is a peer in a process of its own.
type child struct {
	peer *regionPeer
	cmd  *exec.Cmd
	line chan string // the first line of standard output; closed when there is none
	done chan error  // how the process ended; read once by stop
}

// startChild starts `serve` for a peer with the given program, which is grensloos. Its log goes to serve.log beside its
// configuration. env is added to our own environment.
func startChild(ctx context.Context, program string, p *regionPeer, env ...string) (*child, error) {
	log, err := os.OpenFile(filepath.Join(p.dir, "serve.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, "serve", "-c", p.config()) //nolint:gosec // G204: this program itself
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
	c := &child{peer: p, cmd: cmd, line: make(chan string, 1), done: make(chan error, 1)}
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
		log, _ := os.ReadFile(filepath.Join(c.peer.dir, "serve.log"))
		return "", fmt.Errorf("%s did not start:\n%s", c.peer.Name, log[max(0, len(log)-4000):])
	case <-time.After(within):
		return "", fmt.Errorf("%s is not ready after %v; its log: %s", c.peer.Name, within, filepath.Join(c.peer.dir, "serve.log"))
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
			log, _ := os.ReadFile(filepath.Join(c.peer.dir, "serve.log"))
			return fmt.Errorf("%s: %w\n%s", c.peer.Name, err, log[max(0, len(log)-2000):])
		}
		return nil
	case <-time.After(2 * stopWithin):
		_ = c.cmd.Process.Kill()
		return fmt.Errorf("%s did not stop in time and was killed", c.peer.Name)
	}
}
