"""Job kinds: the request, plan and run of each."""
