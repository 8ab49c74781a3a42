"""What is known about each structure of a set, and the figures computed from it: the core of `matgen evaluate`."""
