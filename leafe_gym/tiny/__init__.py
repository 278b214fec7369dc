"""A small language model, pretrained in minutes: acts, reflects and follows experiences."""
