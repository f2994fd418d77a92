"""The proxy: a port of this machine that stands where Connex would, for any client in any language.

HTTP and WebSocket on one port, with what can go wrong on the way; behind it a recording that is played, or a server
that is asked for it. The sandbox listens through the same port.
"""
