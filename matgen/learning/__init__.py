"""Calculated gaps as labels."""
