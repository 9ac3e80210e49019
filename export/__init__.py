"""From an original to a verified engine: convert, contract, rewrite, half, plan, certify."""
