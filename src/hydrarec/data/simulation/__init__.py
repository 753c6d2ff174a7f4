"""Events that are made up: a shop whose people are known, and logs of any size."""
