"""Figures, tables and plots of benchmarks whose code is long."""
