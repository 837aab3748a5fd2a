"""CLIP's byte-pair encoding and its chunks of 75 tokens, without torch, because the token counter uses them too."""
