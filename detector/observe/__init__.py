"""Metrics, health and logs: what people see of a running detector."""
