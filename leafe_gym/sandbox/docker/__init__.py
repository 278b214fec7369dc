"""`docker` and `docker-commit`: sandboxes in containers of an engine."""
