"""Clients of Connex: REST and WebSocket, and the two functions of the research notebook."""
