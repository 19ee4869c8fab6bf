"""HTTP itself: limits, error bodies, the OpenAPI document, draining."""
