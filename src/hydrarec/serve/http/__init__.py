"""HTTP: what clients send and get."""
