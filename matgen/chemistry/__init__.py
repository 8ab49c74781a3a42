"""Elements as numbers, and whether compositions can be charge neutral."""
