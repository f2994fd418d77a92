"""The tape: what passed between a test and Connex, as files.

Their format, how they are read, written and moved; the recorder and the player, which know no socket, loop or clock;
how what a client says is compared with what is recorded; and what one test makes of its recordings.
"""
