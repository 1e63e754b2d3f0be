package beheer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
	"github.com/grensloos/grensloos/gateway/edge"
)

// follower gives the records of this peer as they are kept.
type follower interface {
	// Volg calls begin once, with the moment from which on nothing is missing: since, or later when what is older is not here any
	// more. Then it calls each for every record since then, in the order in which they were kept, and goes on as they come until
	// ctx ends. It returns ErrPeerStopt when this process stops, kind Unavailable when each can't keep up, and any error of theirs.
	Volg(ctx context.Context, since time.Time, begin func(from time.Time) error, each func(audit.Record) error) error
}

// ErrPeerStopt ends the following of records because this process stops.
var ErrPeerStopt = errors.New("the peer stops")

// Names of the events of the stream.
const (
	EventBegin       = "begin"
	EventVastlegging = "vastlegging"
	EventEinde       = "einde"
)

// Why a stream ends.
const (
	EindeVerlopen = "token-verlopen" // come back with a new token
	EindeStopt    = "peer-stopt"
	EindeTraag    = "te-traag" // whoever reads can't keep up: come back, since the last record that came
	EindeFout     = "fout"
)

// BeginJSON is the first event: from when nothing is missing.
type BeginJSON struct {
	Vanaf time.Time `json:"vanaf"`
}

// GevolgdJSON is one record in the stream.
type GevolgdJSON struct {
	VastleggingJSON
	Transactie gateway.TransactionID `json:"transactie,omitempty"`
}

// EindeJSON is the last event.
type EindeJSON struct {
	Reden string `json:"reden"`
}

const (
	aliveEvery  = 15 * time.Second // a comment, so that nobody on the way takes the connection for dead
	writeWithin = 10 * time.Second // for one event
)

// followRecords streams the records of this peer as they come, as server-sent events, until the token of the caller ends. That
// somebody looks is recorded once, before the first event.
func (h *Handler) followRecords(w http.ResponseWriter, r *http.Request) {
	if !acceptsEvents(r.Header.Values("Accept")) {
		edge.WriteProblem(w, r, gateway.WithCode(gateway.Invalid, edge.CodeNotAcceptable, "Accept: only text/event-stream is given here"))
		return
	}
	soorten, since, err := h.whichRecords(r)
	if err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	caller, _ := edge.CallerOf(r.Context())
	names := make([]string, len(soorten))
	for i, s := range soorten {
		names[i] = string(s)
	}
	details := map[string]string{"soort": strings.Join(names, ","), "sinds": since.Format(time.RFC3339)}
	if err := h.record(r.Context(), "vastleggingen-gevolgd", "", details); err != nil {
		edge.WriteProblem(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), caller.Expires.Sub(h.now()))
	defer cancel()
	s := &events{w: w, c: http.NewResponseController(w)}
	// The limits of the listener are for one answer; here each event has its own. A recorder in a test has no deadlines.
	_ = s.c.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")

	type event struct {
		name string
		id   string
		data any
	}
	next := make(chan event)
	ended := make(chan error, 1)
	give := func(e event) error {
		select {
		case next <- e:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	go func() {
		ended <- h.Volgen.Volg(ctx, since,
			func(from time.Time) error { return give(event{EventBegin, "", BeginJSON{from.UTC()}}) },
			func(rec audit.Record) error {
				if !slices.Contains(soorten, rec.Soort) {
					return nil
				}
				return give(event{EventVastlegging, rec.ID, GevolgdJSON{
					VastleggingJSON{ID: rec.ID, Soort: rec.Soort, Tijd: rec.Tijd.UTC(), Inhoud: rec.Body}, rec.Transactie,
				}})
			})
	}()
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for {
		select {
		case e := <-next:
			err = s.send(e.name, e.id, e.data)
		case <-alive.C:
			err = s.comment()
		case err := <-ended:
			if r.Context().Err() == nil {
				_ = s.send(EventEinde, "", EindeJSON{ending(err)})
			}
			return
		}
		if err != nil { // hung up; Volg ends with ctx
			return
		}
	}
}

func ending(err error) string {
	switch {
	case errors.Is(err, ErrPeerStopt):
		return EindeStopt
	case errors.Is(err, context.DeadlineExceeded):
		return EindeVerlopen
	case gateway.KindOf(err) == gateway.Unavailable:
		return EindeTraag
	}
	return EindeFout
}

// whichRecords reads the query: which kinds (all), and since when (now).
func (h *Handler) whichRecords(r *http.Request) ([]audit.Soort, time.Time, error) {
	var p problems
	since := h.now()
	query := r.URL.Query()
	for name := range query {
		if name != "soort" && name != "sinds" {
			p.add("query", "alleen soort en sinds bestaan")
			break
		}
	}
	var soorten []audit.Soort
	for _, value := range query["soort"] {
		for name := range strings.SplitSeq(value, ",") {
			if s := audit.Soort(name); !slices.Contains(audit.Soorten(), s) {
				p.add("soort", "geef een of meer soorten vastlegging, met komma's ertussen")
			} else if !slices.Contains(soorten, s) {
				soorten = append(soorten, s)
			}
		}
	}
	if len(soorten) == 0 {
		soorten = audit.Soorten()
	}
	if text := query.Get("sinds"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || at.After(since) {
			p.add("sinds", "geef een tijdstip in het verleden, zoals 2026-11-23T09:30:00Z")
		}
		since = at
	}
	return soorten, since, p.err()
}

func acceptsEvents(values []string) bool {
	if len(values) == 0 {
		return true
	}
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			media, _, err := mime.ParseMediaType(strings.TrimSpace(part))
			if err == nil && slices.Contains([]string{"text/event-stream", "text/*", "*/*"}, media) {
				return true
			}
		}
	}
	return false
}

// events writes server-sent events (HTML Living Standard, Server-sent events).
type events struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func (s *events) send(name, id string, data any) error {
	raw, err := json.Marshal(data) // on one line
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString("event: " + name + "\n")
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("data: ")
	b.Write(raw)
	b.WriteString("\n\n")
	return s.write(b.Bytes())
}

func (s *events) comment() error { return s.write([]byte(": \n\n")) }

func (s *events) write(b []byte) error {
	_ = s.c.SetWriteDeadline(time.Now().Add(writeWithin))
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.c.Flush()
}
