"""What is installed and usable, what is missing, and what to type to get it."""
