"""Sandboxes: places where a model's code can run, whose memory and files can be taken back."""
