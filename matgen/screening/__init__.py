"""Screening: a row of verdicts for each structure of a user, whatever it contains."""
