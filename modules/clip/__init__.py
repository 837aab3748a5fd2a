"""CLIP's byte-pair encoding and its chunks of 75 tokens, without torch: the token counter needs them."""
