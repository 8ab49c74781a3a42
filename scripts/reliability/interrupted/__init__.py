"""What the scripts on interrupted runs share."""
