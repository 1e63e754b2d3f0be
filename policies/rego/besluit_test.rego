# Elke regel van contract.rego en besluit.rego, met een vraag die er net wel en net niet aan voldoet. De tests in Go doen hetzelfde over de echte
# catalogus; deze bewijzen de regels zelf. `go test ./policies` draait ze en eist dat geen regel ongedekt blijft.
package grensloos.federatie_test

import data.grensloos.federatie

borne := "00000099000000147000"

uwi := "00000099900000001000"

# Een klantmanager vraagt namens Borne om een uitkering.
namens := {
	"subject": {"type": "medewerker", "id": "m1.x", "properties": {"oin": uwi, "rol": {"klantmanager"}}},
	"action": {"name": "bevragen"},
	"resource": {"type": "clientgegevens", "properties": {
		"bronOin": borne,
		"velden": {"uitkering.loopt", "uitkering.bedrag"},
		"geheimhouding": false, "beperkt": false, "leeftijd": 40,
	}},
	"context": {
		"stap": "verstrekking", "doel": "pw-uitkering", "richting": "namens", "namensCollege": borne,
		"zaak": "Z1", "zaaktype": "pw-aanvraag", "aantal": 1, "toestemming": "",
		"toestemmingVelden": {"uitkering.loopt", "uitkering.bedrag", "persoon.naam"},
	},
	"grant": {
		"doel": "pw-uitkering", "afnemer": uwi, "bron": borne, "versie": 1, "digest": "d",
		"richting": "namens", "namensCollege": borne,
		"velden": {"uitkering.loopt", "uitkering.bedrag", "persoon.naam"},
		"afnemerRol": "verwerker-college",
	},
	"doel": {
		"bekend": true, "geldig": true, "status": "actief", "versie": 1, "digest": "d",
		"velden": {"uitkering.loopt", "uitkering.bedrag", "persoon.naam"},
		"nooit": {"zorg.diagnose"}, "richting": {"namens", "tussen"}, "zaaktypen": {"pw-aanvraag"},
		"afnemerRollen": {"verwerker-college"}, "medewerkerRollen": {"klantmanager"},
		"nooitRichting": {"namens": set(), "tussen": set(), "partner": set()},
		"maxPersonen": 1, "bezwaar": true, "toestemmingRichting": set(), "vanafLeeftijd": 0,
	},
}

# Een welzijnsorganisatie vraagt met toestemming.
partner := object.union(namens, {
	"context": {"toestemming": "geldig"},
	"grant": {"doel": "doorverwijzing-welzijn", "richting": "partner", "namensCollege": "", "afnemerRol": "partner"},
	"doel": {"richting": {"partner"}, "afnemerRollen": {"partner"}, "toestemmingRichting": {"partner"}, "vanafLeeftijd": 16, "bezwaar": false},
})

# Zoals de engine het doet: eerst wat het contract zegt, dan het besluit.
met(basis, anders) := besluit if {
	vraag := object.union(basis, anders)
	contract := federatie.contract with input as vraag
	besluit := federatie.besluit with input as object.union(vraag, {"contract": contract})
}

toegestaan(basis, anders) if met(basis, anders).velden

reden(basis, anders) := met(basis, anders).reden

test_toegestaan if {
	met(namens, {}) == {"velden": {"uitkering.loopt", "uitkering.bedrag"}, "onthouden": {}, "geheim": false}
}

test_toegestaan_zonder_persoon if {
	every stap in ["uitgaand", "inkomend"] {
		met(namens, {
			"context": {"stap": stap},
			"resource": {"properties": {"beperkt": true}},
		}).velden == {"uitkering.loopt", "uitkering.bedrag"}
	}
}

test_tussen if met(namens, {"grant": {"richting": "tussen", "namensCollege": ""}}).velden

test_partner if met(partner, {}).geheim == false

test_velden if {
	besluit := met(namens, {
		"resource": {"properties": {"velden": {"uitkering.loopt", "uitkering.bedrag", "persoon.naam", "persoon.bsn", "zorg.diagnose"}}},
		"grant": {"velden": {"uitkering.loopt", "persoon.bsn", "zorg.diagnose"}},
		"doel": {"velden": {"uitkering.loopt", "uitkering.bedrag", "zorg.diagnose"}},
	})
	besluit.velden == {"uitkering.loopt"}
	besluit.onthouden["klasse-verboden"] == {"zorg.diagnose"}
	besluit.onthouden["grondslag-dekt-element-niet"] == {"uitkering.bedrag", "persoon.naam", "persoon.bsn"}
}

test_toestemming_voor_minder_velden if {
	besluit := met(partner, {"context": {"toestemmingVelden": {"uitkering.loopt"}}})
	besluit.velden == {"uitkering.loopt"}
	besluit.onthouden["toestemming-ontbreekt"] == {"uitkering.bedrag"}
}

test_niet_aangeboden_bij_naam if {
	reden(namens, {"grant": {"doel": "handhaving-fraude"}}) == "doel-niet-aangeboden"
	reden(namens, {"grant": {"doel": "handhaving-fraude"}, "doel": {"bekend": false}}) == "doel-niet-aangeboden"
}

test_niet_aangeboden_in_catalogus if reden(namens, {"doel": {"status": "niet-aangeboden"}}) == "doel-niet-aangeboden"

test_doel_onbekend if {
	onbekend := object.union(object.remove(namens, ["doel"]), {"doel": {"bekend": false, "geldig": false}})
	reden(onbekend, {}) == "doel-onbekend"
}

test_doel_niet_actief if {
	niet_geldig := object.union(object.remove(namens, ["doel"]), {"doel": {"bekend": true, "geldig": false}})
	reden(niet_geldig, {}) == "doel-niet-actief"
	reden(namens, {"doel": {"status": "gepland"}}) == "doel-niet-actief"
	reden(namens, {"doel": {"status": "uit"}}) == "doel-niet-actief"
	reden(namens, {"doel": {"geldig": false}}) == "doel-niet-actief"
}

test_geen_contract if {
	reden(namens, {"grant": {"afnemer": borne}}) == "geen-contract"
	reden(namens, {"resource": {"properties": {"bronOin": uwi}}}) == "geen-contract"
}

test_doel_gewijzigd if {
	reden(namens, {"grant": {"versie": 2}}) == "doel-gewijzigd"
	reden(namens, {"grant": {"digest": "e"}}) == "doel-gewijzigd"
}

test_richting if {
	reden(namens, {"grant": {"richting": "partner"}}) == "richting-niet-toegestaan"
	reden(namens, {"grant": {"richting": ""}}) == "richting-niet-toegestaan"
}

test_bevoegd if {
	reden(namens, {"subject": {"properties": {"rol": {"beheerder"}}}}) == "afnemer-niet-bevoegd"
	reden(namens, {"subject": {"properties": {"rol": set()}}}) == "afnemer-niet-bevoegd"
	reden(namens, {"grant": {"afnemerRol": "partner"}}) == "afnemer-niet-bevoegd"
}

test_mandaat if {
	reden(namens, {"grant": {"namensCollege": uwi}}) == "geen-mandaat"
	reden(namens, {"grant": {"namensCollege": ""}}) == "geen-mandaat"
}

test_zaak if {
	reden(namens, {"context": {"zaak": ""}}) == "zaak-niet-open"
	reden(namens, {"context": {"zaaktype": ""}}) == "zaak-niet-open"
	reden(namens, {"context": {"zaaktype": "doorverwijzing"}}) == "zaak-niet-open"
}

test_aantal if {
	reden(namens, {"context": {"aantal": 2}}) == "te-veel-personen"
	reden(namens, {"context": {"aantal": 0}}) == "te-veel-personen"
	reden(namens, {"context": {"aantal": -1}}) == "te-veel-personen"
}

test_geen_velden_over if {
	reden(namens, {"resource": {"properties": {"velden": {"zorg.diagnose"}}}}) == "klasse-verboden"
	reden(namens, {"resource": {"properties": {"velden": {"persoon.bsn"}}}}) == "grondslag-dekt-element-niet"
	reden(namens, {"resource": {"properties": {"velden": {"persoon.bsn", "zorg.diagnose"}}}}) == "grondslag-dekt-element-niet"
	reden(namens, {"resource": {"properties": {"velden": set()}}}) == "grondslag-dekt-element-niet"
}

test_nooit_gaat_boven_doel_en_contract if {
	reden(namens, {
		"resource": {"properties": {"velden": {"zorg.diagnose"}}},
		"grant": {"velden": {"zorg.diagnose"}}, "doel": {"velden": {"zorg.diagnose"}},
	}) == "klasse-verboden"
}

test_bezwaar if {
	reden(namens, {"resource": {"properties": {"beperkt": true}}}) == "beperkt-na-bezwaar"
	met(namens, {"resource": {"properties": {"beperkt": true}}, "doel": {"bezwaar": false}}).velden
}

# De reden is die van de weigering, niet die van een veld dat toch al achterbleef.
test_bezwaar_met_een_verboden_veld if {
	reden(namens, {"resource": {"properties": {"beperkt": true, "velden": {"uitkering.loopt", "zorg.diagnose"}}}}) == "beperkt-na-bezwaar"
}

test_geheimhouding if {
	met(namens, {"resource": {"properties": {"geheimhouding": true}}}).geheim == true
	met(namens, {"grant": {"richting": "tussen"}, "resource": {"properties": {"geheimhouding": true}}}).geheim == true
	reden(partner, {"resource": {"properties": {"geheimhouding": true}}}) == "geheimhouding"
}

test_toestemming if {
	verwacht := {
		"": "toestemming-ontbreekt", "onbekend": "toestemming-ontbreekt", "voorlopig": "toestemming-voorlopig",
		"verlopen": "toestemming-verlopen", "ingetrokken": "toestemming-ingetrokken",
		"verkeerde-ontvanger": "toestemming-verkeerde-ontvanger",
	}
	every staat, code in verwacht {
		reden(partner, {"context": {"toestemming": staat}}) == code
	}
	reden(partner, {"context": {"toestemmingVelden": {"persoon.email"}}}) == "toestemming-ontbreekt"
}

test_onbekende_staat_van_toestemming_geeft_geen_besluit if {
	not toegestaan(partner, {"context": {"toestemming": "misschien"}})
	not reden(partner, {"context": {"toestemming": "misschien"}})
}

test_leeftijd if {
	reden(partner, {"resource": {"properties": {"leeftijd": 15}}}) == "leeftijd-gezag"
	reden(partner, {"resource": {"properties": {"leeftijd": -1}}}) == "leeftijd-gezag"
	met(partner, {"resource": {"properties": {"leeftijd": 16}}}).velden
}

# Zonder gegevens over de persoon geeft verstrekking nooit iets, ook niet voor een doel zonder bezwaar en toestemming.
test_verstrekking_zonder_persoon if {
	zonder := object.union(object.remove(namens, ["resource"]), {"resource": {"properties": {"bronOin": borne, "velden": {"uitkering.loopt"}}}})
	not toegestaan(zonder, {})
	not toegestaan(zonder, {"doel": {"bezwaar": false}})
}

test_onbekende_stap if {
	not toegestaan(namens, {"context": {"stap": ""}})
	not toegestaan(namens, {"context": {"stap": "elders"}})
}

# Een contactpersoon: colleges zonder toestemming en met de wet, een partner alleen met toestemming en zonder de wet.
contact := {
	"resource": {"properties": {"velden": {"contactpersoon.naam", "contactpersoon.wet"}}},
	"context": {"toestemmingVelden": {"contactpersoon.naam", "contactpersoon.wet"}},
	"grant": {"velden": {"contactpersoon.naam", "contactpersoon.wet"}},
	"doel": {
		"velden": {"contactpersoon.naam", "contactpersoon.wet"},
		"nooitRichting": {"namens": set(), "tussen": set(), "partner": {"contactpersoon.wet"}},
		"richting": {"namens", "tussen", "partner"}, "afnemerRollen": {"college", "verwerker-college", "partner"},
		"toestemmingRichting": {"partner"}, "vanafLeeftijd": 16,
	},
}

als_partner := {"grant": {"richting": "partner", "namensCollege": "", "afnemerRol": "partner"}}

test_colleges_zonder_toestemming if {
	every richting in ["namens", "tussen"] {
		besluit := met(object.union(namens, contact), {"grant": {"richting": richting}, "resource": {"properties": {"leeftijd": -1}}})
		besluit.velden == {"contactpersoon.naam", "contactpersoon.wet"}
		besluit.onthouden == {}
	}
}

test_partner_met_toestemming_zonder_de_wet if {
	vraag := object.union(object.union(namens, contact), als_partner)
	besluit := met(vraag, {"context": {"toestemming": "geldig"}})
	besluit.velden == {"contactpersoon.naam"}
	besluit.onthouden["klasse-verboden"] == {"contactpersoon.wet"}
	reden(vraag, {}) == "toestemming-ontbreekt"
	reden(vraag, {"context": {"toestemming": "ingetrokken"}}) == "toestemming-ingetrokken"
	reden(vraag, {"context": {"toestemming": "geldig"}, "resource": {"properties": {"leeftijd": 15}}}) == "leeftijd-gezag"
	reden(vraag, {"context": {"toestemming": "geldig"}, "resource": {"properties": {"velden": {"contactpersoon.wet"}}}}) == "klasse-verboden"
}

# Wat van het doel ontbreekt opent niets.
test_doel_zonder_richtingen if {
	zonder := object.union(object.remove(namens, ["doel"]), {"doel": object.remove(namens.doel, ["toestemmingRichting"])})
	not toegestaan(zonder, {})
	niets := object.union(object.remove(namens, ["doel"]), {"doel": object.remove(namens.doel, ["nooitRichting"])})
	not toegestaan(niets, {})
}
