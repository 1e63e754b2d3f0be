package policies_test

const entryFraude = `- id: handhaving-fraude
  versie: 1
  naam: Samenwerking tegen fraude
  geldigVan: 2026-01-01
  status: niet-aangeboden
  grondslag: [{wet: Wet SUWI, artikel: "64"}]
`
