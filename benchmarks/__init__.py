"""How to measure, the peers to measure against, and the results that were measured."""
