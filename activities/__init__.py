"""Temporal activities: one class per resource, its dependencies injected by worker.py."""
