"""HTTP and WebSocket on one port of this machine, and what can go wrong on the way."""
