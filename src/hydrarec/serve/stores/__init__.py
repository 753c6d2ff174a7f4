"""Stores of users: one contract, and what keeps it."""
