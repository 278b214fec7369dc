"""Measuring: methods side by side at one budget, with intervals over tasks."""
