"""OpenTelemetry's SDK with an exporter, as the OTEL_ variables want it. Needs the `otel` extra."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def exporting(process: str, version: str) -> TracerProvider:
    """A provider that sends spans by OTLP. OTEL_SERVICE_NAME wins over our name for the process."""
    resource = Resource.create().merge(Resource({"service.version": version}))
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": f"mindalle-{process}"}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
