"""From any table to events that are checked and typed."""
