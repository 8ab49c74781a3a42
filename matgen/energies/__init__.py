"""The terms that a total energy is made of, one file each."""
