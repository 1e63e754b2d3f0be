package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/bevraging"
)

// weergave shows an answer as it comes in.
type weergave interface {
	gevraagd(doel, zaak string, all []bevraging.GemeenteGevraagd)
	gemeente(g bevraging.GemeenteAntwoord)
	klaar(a bevraging.Antwoord) error // all is in
}

var errBrokeOff = errors.New("answer: broke off before its end; what is missing was not shown, and nothing may be concluded from that")

const maxGebeurtenis = 16 << 20 // bytes of one event of our own peer

// stroom asks, and hands each event to show. The answer is that of the question, in its order. streamed is false if the peer gave
// one document instead; then show got nothing.
func (a *api) stroom(ctx context.Context, in map[string]any, show weergave) (out bevraging.Antwoord, streamed bool, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+"/bevragingen", bytes.NewReader(body))
	if err != nil {
		return out, false, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Accept", "text/event-stream, application/json;q=0.5")
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.http.Do(req)
	if err != nil {
		return out, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return out, false, refused(resp)
	}
	limited := io.LimitReader(resp.Body, maxAnswer)
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != "text/event-stream" {
		raw, err := io.ReadAll(limited)
		if err == nil {
			err = json.Unmarshal(raw, &out)
		}
		if err != nil {
			err = fmt.Errorf("answer of /bevragingen: %w", err)
		}
		return out, false, err
	}
	out, err = readEvents(limited, fmt.Sprint(in["doel"]), fmt.Sprint(in["zaak"]), show)
	return out, true, err
}

// readEvents reads a stream to its last event.
func readEvents(r io.Reader, doel, zaak string, show weergave) (out bevraging.Antwoord, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxGebeurtenis)
	var order []gateway.PeerID
	event := ""
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if name == "event" {
			event = value
		}
		if name != "data" {
			continue
		}
		switch event {
		case "gevraagd":
			var all []bevraging.GemeenteGevraagd
			if err := json.Unmarshal([]byte(value), &all); err != nil {
				return out, fmt.Errorf("answer: %w", err)
			}
			for _, g := range all {
				order = append(order, g.OIN)
			}
			show.gevraagd(doel, zaak, all)
		case "gemeente":
			var g bevraging.GemeenteAntwoord
			if err := json.Unmarshal([]byte(value), &g); err != nil {
				return out, fmt.Errorf("answer: %w", err)
			}
			out.Gemeenten = append(out.Gemeenten, g)
			show.gemeente(g)
		case "klaar":
			var last bevraging.Samenvatting
			if err := json.Unmarshal([]byte(value), &last); err != nil {
				return out, fmt.Errorf("answer: %w", err)
			}
			if last.Aantal != len(out.Gemeenten) {
				return out, errBrokeOff
			}
			out.Doel, out.Zaak, out.GevraagdOp, out.Volledig = last.Doel, last.Zaak, last.GevraagdOp, last.Volledig
			slices.SortStableFunc(out.Gemeenten, func(a, b bevraging.GemeenteAntwoord) int {
				return slices.Index(order, a.OIN) - slices.Index(order, b.OIN)
			})
			return out, nil
		}
	}
	if err := lines.Err(); err != nil {
		return out, fmt.Errorf("%w: %w", errBrokeOff, err)
	}
	return out, errBrokeOff
}

// regels prints each gemeente in full as it answers.
type regels struct{ w io.Writer }

func (r *regels) gevraagd(doel, zaak string, _ []bevraging.GemeenteGevraagd) {
	fmt.Fprintf(r.w, "doel %s, zaak %s\n", oneLine(doel), oneLine(zaak))
}

func (r *regels) gemeente(g bevraging.GemeenteAntwoord) { printGemeente(r.w, g) }

func (r *regels) klaar(a bevraging.Antwoord) error { return printSlot(r.w, a.Volledig) }

// tabel shows a line per gemeente, drawn anew as each answers, and the whole answer below it when all is in.
type tabel struct {
	w             io.Writer
	width, height int
	start         time.Time

	asked []bevraging.GemeenteGevraagd
	state map[gateway.PeerID]string
	long  bool // it does not fit the screen: a line when a gemeente answers, never drawn anew
}

func (t *tabel) gevraagd(doel, zaak string, all []bevraging.GemeenteGevraagd) {
	t.asked, t.state = all, map[gateway.PeerID]string{}
	t.long = len(all)+2 > t.height
	fmt.Fprintf(t.w, "doel %s, zaak %s: %d gevraagd\n", oneLine(doel), oneLine(zaak), len(all))
	if !t.long {
		t.draw()
	}
}

func (t *tabel) gemeente(g bevraging.GemeenteAntwoord) {
	t.state[g.OIN] = fmt.Sprintf("%s (%.1f s)", kort(g), time.Since(t.start).Seconds())
	if t.long {
		for _, asked := range t.asked {
			if asked.OIN == g.OIN {
				fmt.Fprintln(t.w, t.line(asked))
			}
		}
		return
	}
	fmt.Fprintf(t.w, "\x1b[%dA", len(t.asked))
	t.draw()
}

func (t *tabel) draw() {
	for _, g := range t.asked {
		fmt.Fprintf(t.w, "\r\x1b[2K%s\n", t.line(g))
	}
}

func (t *tabel) line(g bevraging.GemeenteGevraagd) string {
	line := []rune(fmt.Sprintf("  %-4s %-20s %-10s %s", oneLine(g.Gemeentecode), oneLine(g.Naam), oneLine(string(g.Grond)), or(t.state[g.OIN], "...")))
	if len(line) >= t.width { // a line that wraps would be two to draw over
		line = line[:max(t.width-1, 0)]
	}
	return string(line)
}

func (t *tabel) klaar(a bevraging.Antwoord) error {
	for _, g := range a.Gemeenten {
		printGemeente(t.w, g)
	}
	return printSlot(t.w, a.Volledig)
}

// kort is what came of a gemeente in a few words: "beantwoord", or "1 beantwoord, 2 geweigerd".
func kort(g bevraging.GemeenteAntwoord) string {
	var order []bevraging.Uitkomst
	n, withheld := map[bevraging.Uitkomst]int{}, 0
	for _, d := range g.Diensten {
		if n[d.Uitkomst] == 0 {
			order = append(order, d.Uitkomst)
		}
		n[d.Uitkomst]++
		for _, o := range d.Onthouden {
			withheld += len(o.Velden)
		}
	}
	var parts []string
	for _, u := range order {
		if len(order) == 1 {
			parts = append(parts, oneLine(string(u)))
			continue
		}
		parts = append(parts, fmt.Sprintf("%d %s", n[u], oneLine(string(u))))
	}
	if withheld > 0 {
		parts = append(parts, fmt.Sprintf("%d velden onthouden", withheld))
	}
	if g.Geheim {
		parts = append(parts, "GEHEIM")
	}
	return strings.Join(parts, ", ")
}

// terminal is the size of the terminal that w is, if it is one that can move its cursor.
func terminal(w io.Writer) (width, height int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return 0, 0, false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	return width, height, err == nil
}
