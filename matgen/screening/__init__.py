"""Verdicts on anyone's structures: one row for each, whatever it holds, in whatever number."""
