"""Data of the elements, and charge neutrality of compositions."""
