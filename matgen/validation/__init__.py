"""Relaxation, checks and duplicates: what of the samples survives, and why."""
