"""The exact rewrites, by what they move. `export.rewrite` runs them."""
