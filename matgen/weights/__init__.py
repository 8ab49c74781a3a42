"""Trained networks: kinds, files with headers and hashes, loading."""
