"""Relaxation of crystals and molecules."""
