"""The proxy: a port of this machine that stands where Connex would, for any client in any language."""
