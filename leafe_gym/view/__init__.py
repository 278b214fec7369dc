"""Trees for people to look at."""
