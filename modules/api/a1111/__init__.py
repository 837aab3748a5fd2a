"""A1111's HTTP API, under /sdapi/v1 and /internal."""
