"""Order books: the rules that their frames must hold to, and the checksums of exchanges. No input, no output."""
