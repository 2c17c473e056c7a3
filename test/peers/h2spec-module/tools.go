//go:build tools

// Names what is built here, so that go.mod and go.sum hold its exact contents.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
