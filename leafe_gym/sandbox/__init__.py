"""Sandboxes: isolated places to run a model's code, with snapshots of memory and files."""
