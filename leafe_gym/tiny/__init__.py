"""A small language model, trained from nothing in minutes: acts, looks back, follows tips."""
