"""Energy above the hull of known phases."""
