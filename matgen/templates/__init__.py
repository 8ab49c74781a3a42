"""Templates, the discrete half of a material, and their expansion into atoms."""
