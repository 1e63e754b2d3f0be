// Package gateway is the vocabulary of Grensloos: the words that every other package uses to talk about peers, contracts,
// purposes, persons and decisions. It holds types and their parsing, no I/O, and imports nothing of ours.
//
// The plumbing has the names of FSC Core 2.0.0 (Peer, Group, Contract, Grant, Service). The domain has the names of Dutch law
// and of the municipal standards:
//
//	doel           purpose for which data is asked and given
//	grondslag      legal ground
//	betrokkene     data subject
//	dienst, veld   what is asked for: a group of data, and one field in it
//	vraag          question
//	zaak           the case that the question belongs to
//	toestemming    consent;  bezwaar: objection;  mandaat: mandate
//	verstrekking   disclosure
//	richting       direction: who asks whom, and in which legal role
//
// Invariants a reviewer must keep: zero values refuse (Decision{} denies, Kind(0) is Internal, BSN{} is no person); a BSN is
// printed by nothing but Reveal; nothing enters this package unless two packages need it.
package gateway
