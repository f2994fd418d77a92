"""Secrets: how they may be written, how they are found, and what takes their place.

Whatever is recorded, written or shown is searched here. Nothing in this room opens a file.
"""
