package edge

import (
	"bytes"
	"net/http"
)

// Draft is an answer that has not left yet: a gateway writes its refusal here, records it, and only then sends it.
type Draft struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// NewDraft starts an answer with the headers that w already has.
func NewDraft(w http.ResponseWriter) *Draft { return &Draft{header: w.Header().Clone()} }

// Header of the answer.
func (d *Draft) Header() http.Header { return d.header }

// WriteHeader sets the status, once.
func (d *Draft) WriteHeader(status int) {
	if d.status == 0 {
		d.status = status
	}
}

func (d *Draft) Write(p []byte) (int, error) {
	d.WriteHeader(http.StatusOK)
	return d.body.Write(p)
}

// Status of the answer; 0 as long as nothing was written.
func (d *Draft) Status() int { return d.status }

// Bytes is the size of the body.
func (d *Draft) Bytes() int64 { return int64(d.body.Len()) }

// Send writes the draft to w.
func (d *Draft) Send(w http.ResponseWriter) {
	out := w.Header()
	clear(out)
	for name, values := range d.header {
		out[name] = values
	}
	w.WriteHeader(d.status)
	_, _ = w.Write(d.body.Bytes())
}
