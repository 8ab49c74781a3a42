"""Samplers: they walk downhill with noise and know energies and scores only as callables."""
