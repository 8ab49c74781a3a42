"""Verdicts on one structure."""
