"""Prepared tables of crystals and molecules: templates, free parameters, labels and splits."""
