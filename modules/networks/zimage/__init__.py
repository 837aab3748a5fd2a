"""Z-Image: a flow-matching transformer with one stream for text and picture."""
