"""Clients of Connex: REST and WebSocket, and what is built on them: health, capture, an order book that is followed.

They are used like any client, with or without pytest, and know nothing of recordings.
"""
