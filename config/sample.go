package config

import _ "embed"

// Sample is a configuration file with every option, commented and set to its default.
//
//go:embed sample.yaml
var Sample string
