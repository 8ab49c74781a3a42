"""The commands as plain functions: design, screen, evaluate, verify, learn, train, data, reference."""
