"""Fingerprints, duplicates, and known structures."""
