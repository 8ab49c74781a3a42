"""Samplers; energies and scores are callables to them."""
