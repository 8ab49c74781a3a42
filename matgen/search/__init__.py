"""From proposals to candidates: relax, check, select, verify."""
