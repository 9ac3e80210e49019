"""Published weights: the manifest, and a store that finds or fetches and verifies them."""
