"""What the scripts on odd inputs share."""
