package bevraging

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/grensloos/grensloos/gateway/edge"
)

// The forms of an answer: one document when all is in; or one line, or one event, per gemeente as each answers, and the
// Samenvatting last.
const (
	mediaJSON   = "application/json"
	mediaNDJSON = "application/x-ndjson"
	mediaSSE    = "text/event-stream"
)

// gevraagdeVorm is the form that an Accept header likes best; the document if it does not care.
func gevraagdeVorm(values []string) (media string, ok bool) {
	if len(values) == 0 {
		return mediaJSON, true
	}
	best := 0.0
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			name, params, err := mime.ParseMediaType(strings.TrimSpace(part))
			if err != nil {
				continue
			}
			q := 1.0
			if given, has := params["q"]; has {
				if q, err = strconv.ParseFloat(given, 64); err != nil {
					continue
				}
			}
			switch name {
			case "*/*", "application/*":
				name = mediaJSON
			case "text/*":
				name = mediaSSE
			case mediaJSON, mediaNDJSON, mediaSSE:
			default:
				continue
			}
			if q > best && q <= 1 {
				best, media = q, name
			}
		}
	}
	return media, media != ""
}

// uitvoer writes the answers to one question.
type uitvoer struct {
	w      http.ResponseWriter
	r      *http.Request
	cancel context.CancelFunc // ends what is still under way
	vragen []question
	slot   Samenvatting
}

// document writes one answer when all is in, in the order of the question.
func (u *uitvoer) document(antwoorden <-chan genummerd) {
	a := Antwoord{
		Doel: u.slot.Doel, Zaak: u.slot.Zaak, GevraagdOp: u.slot.GevraagdOp, Volledig: true, Gemeenten: make([]GemeenteAntwoord, len(u.vragen)),
	}
	for part := range antwoorden {
		a.Gemeenten[part.plaats] = *part.GemeenteAntwoord
		a.Volledig = a.Volledig && part.volledig()
	}
	edge.WriteJSON(u.w, u.r, http.StatusOK, a)
}

// trage is how long a reader of a stream may take beyond the question itself.
const trage = 10 * time.Second

// stroom writes each answer as it comes. A client that hangs up, or that does not read, ends what is still under way; what it has
// read then has no last line.
func (u *uitvoer) stroom(media string, antwoorden <-chan genummerd) {
	rc := http.NewResponseController(u.w)
	_ = rc.SetWriteDeadline(time.Now().Add(longestTimeout + trage)) // a writer that has no deadlines has no slow reader either
	u.w.Header().Set("Content-Type", media)
	u.w.Header().Set("X-Accel-Buffering", "no") // or a proxy gives it all at once
	u.w.WriteHeader(http.StatusOK)
	failed := false
	write := func(event string, v any) {
		if failed = failed || u.r.Context().Err() != nil; failed {
			u.cancel() // nobody reads
			return
		}
		raw, err := json.Marshal(v)
		if err != nil {
			u.cancel()
			for range antwoorden { // until all have ended
			}
			panic(http.ErrAbortHandler)
		}
		switch media {
		case mediaSSE:
			raw = []byte("event: " + event + "\ndata: " + string(raw) + "\n\n")
		default:
			raw = append(raw, '\n')
		}
		_, err = u.w.Write(raw)
		if err == nil {
			err = rc.Flush()
		}
		if failed = err != nil && !errors.Is(err, http.ErrNotSupported); failed {
			u.cancel()
		}
	}
	if media == mediaSSE {
		write("gevraagd", u.gevraagd())
	} else {
		_ = rc.Flush()
	}
	u.slot.Volledig = true
	for part := range antwoorden {
		u.slot.Volledig = u.slot.Volledig && part.volledig()
		write("gemeente", part.GemeenteAntwoord)
	}
	if write("klaar", u.slot); failed {
		panic(http.ErrAbortHandler) // cut off, not ended as if it were whole
	}
}

// gevraagd lists whom the question goes to.
func (u *uitvoer) gevraagd() []GemeenteGevraagd {
	all := make([]GemeenteGevraagd, len(u.vragen))
	for i, q := range u.vragen {
		all[i] = GemeenteGevraagd{OIN: q.gemeente.ID, Gemeentecode: q.gemeente.Code, Naam: q.gemeente.Naam, Grond: q.gemeente.grond}
	}
	return all
}
