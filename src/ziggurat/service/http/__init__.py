"""HTTP without models: limits, bodies, errors, JSON and event streams, the OpenAPI document, shutdown."""
