package main

import (
	"fmt"

	"github.com/grensloos/grensloos/connectors"
	"github.com/grensloos/grensloos/connectors/clientgegevens"
	"github.com/grensloos/grensloos/connectors/database"
	"github.com/grensloos/grensloos/connectors/register"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/bevraging"
)

// withRegister puts the register of contact persons beside a source that has none.
func (p *peer) withRegister(source connectors.Source) (connectors.Source, error) {
	if register.Heeft(source) {
		return source, nil
	}
	p.ownContacts = true
	both, err := register.Naast(source, p.store, p.pseudonyms, p.now)
	if err != nil {
		return nil, fmt.Errorf("bron: %w", err)
	}
	return both, nil
}

// takeReports lets the service take terugmeldingen, of what the audit stream says it disclosed.
func (p *peer) takeReports(h *clientgegevens.Handler) *clientgegevens.Handler {
	h.Terugmeldingen, h.Records = p.store, shipped{p.journal, p.reader}
	return h
}

// makeReports lets the users of bevraging make terugmeldingen.
func (p *peer) makeReports(h *bevraging.Handler) {
	h.Terugmeldingen = &bevraging.Terugmeldingen{Register: p.store, Records: shipped{p.journal, p.reader}}
}

// administer gives beheer the registers that a peer with a source keeps. A process that does not open the source sees in the mapping
// whether that has contact persons of its own.
func (p *peer) administer(h *beheer.Handler) error {
	if p.cfg.Source == nil {
		return nil
	}
	h.Meldingen = p.store
	own := p.ownContacts
	if p.source == nil {
		aanbod, err := database.Aanbod(p.cfg.Source.Database.Mapping)
		if err != nil {
			return fmt.Errorf("bron.database: %w", err)
		}
		own = len(aanbod[register.Dienst]) == 0
	}
	if own {
		h.Contacten = p.store
	}
	return nil
}
