"""Terms of the total energy, one file each."""
