"""A1111's HTTP interface, below /sdapi/v1 and /internal."""
