package bevraging

import (
	"errors"
	"time"

	"github.com/grensloos/grensloos/gateway"
)

// Config holds the bounds of bevraging. A zero field has its default. A question beyond a bound is refused before anything is
// sent, or its part gets an outcome with a name; no bound makes an answer look whole.
type Config struct {
	// Timeout of one question, all its gemeenten together; at most 50s. Default: 20s.
	Timeout time.Duration `yaml:"wachttijd"`
	// GemeenteTimeout is how long one gemeente gets to answer; at most wachttijd. A question that must wait for its turn is sent as
	// long as this much of wachttijd is left, and else not at all: what can't be waited for is not asked. Default: 10s, or
	// wachttijd if that is less.
	GemeenteTimeout time.Duration `yaml:"wachttijdGemeente"`
	// MaxGemeenten is how many gemeenten one question may have; at most 400. Default: 400.
	MaxGemeenten int `yaml:"gemeenten"`
	// MaxAntwoord is how many bytes one gemeente may answer. Default: 1048576 (1 MiB).
	MaxAntwoord int64 `yaml:"antwoordBytes"`
	// MaxTotaal is how many bytes all gemeenten of one question may answer together. Default: 33554432 (32 MiB).
	MaxTotaal int64 `yaml:"totaalBytes"`
	// MaxVragen is how many questions may be under way at once; one more is answered with 503. Default: 64.
	MaxVragen int `yaml:"vragen"`
	// MaxPerGemeente is how many questions to one gemeente may be under way at once, so that a slow one can't take all connections;
	// the next waits for its turn. Default: 16.
	MaxPerGemeente int `yaml:"vragenPerGemeente"`
	// MaxVerzoeken is how many questions to gemeenten may be under way at once, of all questions together; the next waits for its
	// turn. Default: 512.
	MaxVerzoeken int `yaml:"verzoeken"`
}

const (
	longestTimeout = 50 * time.Second // below the WriteTimeout of a listener
	mostGemeenten  = 400              // there are 342
)

// withDefaults fills in what is not given.
func (c Config) withDefaults() Config {
	fill(&c.Timeout, 20*time.Second)
	fill(&c.GemeenteTimeout, min(10*time.Second, c.Timeout))
	fill(&c.MaxGemeenten, mostGemeenten)
	fill(&c.MaxAntwoord, 1<<20)
	fill(&c.MaxTotaal, 32<<20)
	fill(&c.MaxVragen, 64)
	fill(&c.MaxPerGemeente, 16)
	fill(&c.MaxVerzoeken, 512)
	return c
}

func fill[T ~int | ~int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Check tells all that is wrong at once, each with its key.
func (c Config) Check() error {
	c = c.withDefaults()
	var errs []error
	bad := func(wrong bool, message string) {
		if wrong {
			errs = append(errs, gateway.Errorf(gateway.Invalid, "%s", message))
		}
	}
	bad(c.Timeout < 0 || c.Timeout > longestTimeout, "wachttijd: at most 50s")
	bad(c.GemeenteTimeout < 0 || c.GemeenteTimeout > c.Timeout, "wachttijdGemeente: at most wachttijd")
	bad(c.MaxGemeenten < 1 || c.MaxGemeenten > mostGemeenten, "gemeenten: between 1 and 400")
	bad(c.MaxAntwoord < 1, "antwoordBytes: more than 0")
	bad(c.MaxTotaal < c.MaxAntwoord, "totaalBytes: at least antwoordBytes")
	bad(c.MaxVragen < 1, "vragen: more than 0")
	bad(c.MaxPerGemeente < 1, "vragenPerGemeente: more than 0")
	bad(c.MaxVerzoeken < 1, "verzoeken: more than 0")
	return errors.Join(errs...)
}
