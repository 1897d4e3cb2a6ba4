// Package stackdriver stands in for Google's metrics sink: the test Vault
// sends no metrics.
package stackdriver

import (
	monitoring "cloud.google.com/go/monitoring/apiv3"
	metrics "github.com/armon/go-metrics"
)

// Config has the settings that Vault sets.
type Config struct {
	LabelExtractor any
	Bucketer       any
	ProjectID      string
	Location       string
	Namespace      string
	DebugLogs      bool
}

// Sink drops every metric.
type Sink struct{ metrics.BlackholeSink }

// NewSink returns a Sink that drops every metric.
func NewSink(*monitoring.MetricClient, *Config) *Sink { return &Sink{} }
