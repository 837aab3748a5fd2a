"""Networks that enlarge or clean finished pictures."""
