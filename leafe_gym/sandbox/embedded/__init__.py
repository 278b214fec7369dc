"""`embedded`: namespaces, no daemon, no root; snapshots of memory and files in milliseconds."""
