"""Networks that enlarge or clean up finished pictures."""
