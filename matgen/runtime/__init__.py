"""Configuration, devices, random numbers, processes, progress and output."""
