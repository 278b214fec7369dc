"""Verifying which backends are correct for an environment, and choosing one."""
