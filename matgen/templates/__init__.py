"""The discrete half of a material, and how it becomes atoms."""
