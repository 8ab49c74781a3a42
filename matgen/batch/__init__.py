"""Atoms of many systems as tensors, their molecular graphs and neighbour lists."""
