"""The zoo: cards of the networks, the originals, and the command line."""

__version__ = "0.1.0"
