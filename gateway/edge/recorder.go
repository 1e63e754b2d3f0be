package edge

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// Recorder is a ResponseWriter that remembers the status and the number of body bytes that were written. Use it within one
// handler; it is not for concurrent use.
type Recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	failed error
}

// NewRecorder wraps w.
func NewRecorder(w http.ResponseWriter) *Recorder { return &Recorder{ResponseWriter: w} }

// WriteHeader remembers the final status; an informational one passes.
func (r *Recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *Recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	if err != nil && r.failed == nil {
		r.failed = err
	}
	return n, err
}

// FlushError flushes what was written so far; http.ResponseController and httputil.ReverseProxy find it.
func (r *Recorder) FlushError() error {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Flush is FlushError for those who ask for an http.Flusher.
func (r *Recorder) Flush() { _ = r.FlushError() }

// Unwrap lets http.ResponseController reach the deadlines of the connection.
func (r *Recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Started reports whether the answer has begun: from then on its status is fixed.
func (r *Recorder) Started() bool { return r.status != 0 }

// Status is the status that was answered, 0 if none was.
func (r *Recorder) Status() int { return r.status }

// Bytes is the number of body bytes that were handed on.
func (r *Recorder) Bytes() int64 { return r.bytes }

// Failed is the first error of writing to the caller, such as a hang-up.
func (r *Recorder) Failed() error { return r.failed }

// CountedBody counts the bytes that are read from a request body; the transport reads it in a goroutine of its own.
type CountedBody struct {
	io.ReadCloser
	n atomic.Int64
}

// CountBody wraps body; nil counts as empty.
func CountBody(body io.ReadCloser) *CountedBody {
	if body == nil {
		body = http.NoBody
	}
	return &CountedBody{ReadCloser: body}
}

func (c *CountedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Bytes is the number read so far.
func (c *CountedBody) Bytes() int64 { return c.n.Load() }

// BufferPool is the pool of copy buffers for httputil.ReverseProxy, which has none of itself. The zero value is ready.
type BufferPool struct{ pool sync.Pool }

const bufferSize = 32 << 10

// Get returns a buffer of 32 kB.
func (b *BufferPool) Get() []byte {
	if v, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return v[:]
	}
	return make([]byte, bufferSize)
}

// Put takes back a buffer of Get.
func (b *BufferPool) Put(p []byte) {
	if len(p) == bufferSize {
		b.pool.Put((*[bufferSize]byte)(p))
	}
}
