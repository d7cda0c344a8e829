"""Traces of requests and jobs; nothing where OpenTelemetry is not installed."""
