"""What users call, and what it is made of: the wrapper, its controller, logs and saved state."""
