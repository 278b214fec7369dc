"""Trees as an HTML page and as text in the terminal."""
