package database

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grensloos/grensloos/connectors"
)

// conversie turns what a column holds into the type of the common schema. It never guesses: a value that does not fit is an
// error without the value in it. The zero value suits text.
type conversie struct {
	soort        string
	waar, onwaar []string
	leeg         string
	codes        map[string]string
}

// The conversions, by type; the first is the default where there is one.
const (
	iso      = "iso"      // datum: jjjj-mm-dd, jjjj-mm or jjjj, or a date of the engine
	jjjjmmdd = "jjjjmmdd" // datum as in the BRP: 19850000 is the year only, 00000000 unknown
	centen   = "centen"   // bedrag: whole cents
	euro     = "euro"     // bedrag: euros with a decimal point
)

func (r *reader) conversie(schema connectors.VeldSchema, n node, f map[string]entry) conversie {
	c := conversie{}
	switch schema.Type {
	case connectors.Datum:
		c.soort = r.choice(f, kConversie, iso, jjjjmmdd)
	case connectors.Bedrag:
		if _, ok := f[kConversie]; !ok {
			r.bad(n.line(), "%s: conversie is missing; choose from [%s %s]", n.path, centen, euro)
		}
		c.soort = r.choice(f, kConversie, centen, euro)
	case connectors.JaNee:
		if e, ok := f[kWaar]; ok {
			c.waar = r.texts(e.node)
		}
		if e, ok := f[kOnwaar]; ok {
			c.onwaar = r.texts(e.node)
		}
		for _, s := range c.waar {
			if slices.Contains(c.onwaar, s) {
				r.bad(f[kWaar].line, "%s: %.20q is also in onwaar", f[kWaar].path, s)
			}
		}
		c.leeg = r.choice(f, kLeeg, "", kWaar, kOnwaar)
	case connectors.Code:
		e, ok := f[kCodes]
		if !ok {
			break
		}
		c.codes = map[string]string{}
		for _, code := range r.entries(e.node) {
			waarde := r.text(code.node)
			if waarde != "" && !slices.Contains(schema.Waarden, waarde) {
				r.bad(code.line, "%s: unknown value %.40q; choose from %v", code.path, waarde, schema.Waarden)
			}
			c.codes[code.key] = waarde
		}
	default: // the others have nothing to choose
	}
	return c
}

// waarde makes the value of one field from the values of its columns, in the order of v.kolommen.
func (v *veldKolommen) waarde(kolommen []any) (connectors.Waarde, error) {
	if v.schema.Type == connectors.Adres {
		delen := map[string]string{}
		for _, d := range v.delen {
			if s := samen(kolommen[:len(d.kolommen)]); s != "" {
				delen[d.naam] = s
			}
			kolommen = kolommen[len(d.kolommen):]
		}
		if len(delen) == 0 {
			return nil, nil
		}
		return delen, nil
	}
	if v.schema.Type == connectors.Tekst {
		if s := samen(kolommen); s != "" {
			return s, nil
		}
		return nil, nil
	}
	return v.conversie.waarde(v.schema, kolommen[0])
}

func (c conversie) waarde(schema connectors.VeldSchema, raw any) (connectors.Waarde, error) {
	s := tekst(raw)
	if s == "" {
		switch {
		case schema.Type == connectors.JaNee && c.leeg != "":
			return c.leeg == kWaar, nil
		case schema.Type == connectors.JaNee && (slices.Contains(c.waar, "") || slices.Contains(c.onwaar, "")):
			return slices.Contains(c.waar, ""), nil
		}
		return nil, nil
	}
	switch schema.Type {
	case connectors.Datum:
		return c.datum(raw, s)
	case connectors.JaNee:
		return c.jaNee(s)
	case connectors.Bedrag:
		return c.bedrag(raw, s)
	case connectors.Code:
		if c.codes != nil {
			waarde, ok := c.codes[s]
			if !ok {
				return nil, fmt.Errorf("a value that codes does not name")
			}
			return waarde, nil
		}
		if !slices.Contains(schema.Waarden, s) {
			return nil, fmt.Errorf("a value outside %v; give codes", schema.Waarden)
		}
		return s, nil
	default:
		return nil, fmt.Errorf("no conversion to %s", schema.Type)
	}
}

var (
	isoDatum = regexp.MustCompile(`^\d{4}(-\d{2}(-\d{2})?)?$`)
	tijdstip = regexp.MustCompile(`^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(\.\d{1,6})?([+-]\d{2}(:\d{2})?)?$`)
	brpDatum = regexp.MustCompile(`^\d{8}$`)
	geheel   = regexp.MustCompile(`^-?\d{1,15}$`)
	decimaal = regexp.MustCompile(`^-?\d{1,13}(\.\d{1,2}0*)?$`) // zeros behind the cents: a NUMERIC of more decimals
)

func (c conversie) datum(raw any, s string) (connectors.Waarde, error) {
	if t, ok := raw.(time.Time); ok {
		return t.Format(time.DateOnly), nil
	}
	if c.soort == jjjjmmdd {
		if s == "0" { // 00000000 in a column of numbers
			return nil, nil
		}
		if !brpDatum.MatchString(s) {
			return nil, fmt.Errorf("no date of eight digits")
		}
		switch {
		case s == "00000000":
			return nil, nil
		case s[4:] == "0000":
			s = s[:4]
		case s[6:] == "00":
			s = s[:4] + "-" + s[4:6]
		default:
			s = s[:4] + "-" + s[4:6] + "-" + s[6:]
		}
	}
	if tijdstip.MatchString(s) { // its day, as written
		s = s[:len(time.DateOnly)]
	}
	if !isoDatum.MatchString(s) {
		return nil, fmt.Errorf("no date such as 2026-01-31")
	}
	if _, err := time.Parse(time.DateOnly[:len(s)], s); err != nil || s[:4] == "0000" {
		return nil, fmt.Errorf("no day of the calendar")
	}
	return s, nil
}

// laatsteDag is the last day that a date, complete or not, can mean.
func laatsteDag(datum string) time.Time {
	t, err := time.Parse(time.DateOnly[:len(datum)], datum)
	if err != nil {
		return time.Time{}
	}
	switch len(datum) {
	case len("2006"):
		return t.AddDate(1, 0, -1)
	case len("2006-01"):
		return t.AddDate(0, 1, -1)
	}
	return t
}

func (c conversie) jaNee(s string) (connectors.Waarde, error) {
	waar, onwaar := slices.Contains(c.waar, s), slices.Contains(c.onwaar, s)
	switch {
	case waar || onwaar:
		return waar, nil
	case c.waar != nil && c.onwaar == nil:
		return false, nil
	case c.onwaar != nil && c.waar == nil:
		return true, nil
	case c.waar != nil:
		return nil, fmt.Errorf("a value that neither waar nor onwaar names")
	}
	switch s {
	case "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	}
	return nil, fmt.Errorf("neither 0 nor 1, true nor false; give waar or onwaar")
}

func (c conversie) bedrag(raw any, s string) (connectors.Waarde, error) {
	if c.soort == centen {
		if !geheel.MatchString(s) {
			return nil, fmt.Errorf("no whole number of cents")
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("no whole number of cents")
		}
		sign := ""
		if n < 0 {
			sign, n = "-", -n
		}
		return fmt.Sprintf("%s%d.%02d", sign, n/100, n%100), nil
	}
	if f, ok := raw.(float64); ok {
		s = strconv.FormatFloat(f, 'f', 2, 64)
	}
	if !decimaal.MatchString(s) {
		return nil, fmt.Errorf("no amount such as 1234.56")
	}
	whole, cents, _ := strings.Cut(s, ".")
	return whole + "." + (cents + "00")[:2], nil
}

// samen joins the texts of columns by a space and leaves empty ones out.
func samen(kolommen []any) string {
	var parts []string
	for _, k := range kolommen {
		if s := tekst(k); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " ")
}

// tekst is the text of what the driver gave; empty for NULL.
func tekst(raw any) string {
	switch v := raw.(type) {
	case string:
		return strings.TrimSpace(v)
	case []byte:
		return strings.TrimSpace(string(v))
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return v.Format(time.DateOnly)
	}
	return ""
}
