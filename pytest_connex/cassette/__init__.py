"""Recordings: their format, how they are written, how they are played, and what one test makes of them."""
