package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// inProcess calls a role of this process as it would call it over the network: same request, same handler, no socket. Headers,
// streaming, cancellation and an aborted answer behave as over HTTP.
type inProcess struct{ handler http.Handler }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "in-process"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	body, out := io.Pipe()
	w := &pipeWriter{header: http.Header{}, out: out, started: make(chan struct{})}
	go func() {
		defer cancel()
		defer func() {
			if p := recover(); p != nil {
				err := errors.New("the answer was aborted")
				if aborted, ok := p.(error); !ok || !errors.Is(aborted, http.ErrAbortHandler) {
					err = fmt.Errorf("the answer was aborted: panic of type %T", p) // a panic's value may hold anything
				}
				w.fail(err)
			}
		}()
		t.handler.ServeHTTP(w, in)
		_ = in.Body.Close()
		w.WriteHeader(http.StatusOK)
		_ = out.Close()
	}()
	select {
	case <-w.started:
	case <-r.Context().Done():
		_ = body.CloseWithError(r.Context().Err())
		cancel()
		return nil, r.Context().Err()
	}
	if w.err != nil {
		return nil, w.err
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Header: w.sent,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: cancelBody{body, cancel}, ContentLength: -1, Request: r,
	}, nil
}

// pipeWriter hands what a handler writes to the reader of the response.
type pipeWriter struct {
	header  http.Header
	out     *io.PipeWriter
	once    sync.Once
	started chan struct{} // closed when status and sent, or err, are set
	status  int
	sent    http.Header // the headers as they were when the answer began
	err     error
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	if status < 200 {
		return // informational; nothing here waits for it
	}
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.started)
	})
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(b)
}

func (w *pipeWriter) Flush() { w.WriteHeader(http.StatusOK) }

// fail ends the answer: with an error instead of a response if none was begun, else in the middle of the body.
func (w *pipeWriter) fail(err error) {
	w.once.Do(func() {
		w.err = err
		close(w.started)
	})
	_ = w.out.CloseWithError(err)
}

// cancelBody ends the handler's context when the reader is done.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b cancelBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}
