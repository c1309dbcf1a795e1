"""Runs the service under load and faults, and checks every promise against what clients and receivers saw."""
