"""Captures that other tools make, read as recordings are written: browsers' HAR, mitmproxy's flows, lines of text."""
