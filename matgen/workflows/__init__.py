"""What a person can ask the program to do: design, train, prepare data. Plain functions."""
