"""Structures from and to files, candidates, and conversion between packages."""
