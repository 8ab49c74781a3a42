"""What is known about each structure of a set, and the figures made of it."""
