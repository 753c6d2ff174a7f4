"""The items of a server: which there are, which are best, and which are allowed."""
