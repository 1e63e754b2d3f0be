// Package schemas holds what crosses a border: OpenAPI documents, JSON Schemas, the common schema of a connector (diensten.json)
// and DIVERGENCES.md, which says per standard where we chose or differ. The files are data that other parties build against;
// the Go code only embeds them. It imports nothing of ours.
//
// Invariant a reviewer must keep: a published file changes by a new version, never by another meaning of the same name.
package schemas

import "embed"

// FS has every schema file, by its name in this folder.
//
//go:embed *.json *.yaml *.md
var FS embed.FS
