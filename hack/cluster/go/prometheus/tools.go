//go:build tools

// Package tools imports the commands that are built from this module, so that go.mod keeps their requirements.
package tools

import _ "github.com/prometheus/prometheus/cmd/prometheus"
