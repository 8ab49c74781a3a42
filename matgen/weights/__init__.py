"""Trained networks: files, headers, hashes."""
