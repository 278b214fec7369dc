"""`docker` and `docker-commit`: sandboxes in containers of a Docker engine."""
