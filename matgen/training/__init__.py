"""Training: one loop, and one file per kind of network with its objective and plan."""
