"""The memory of the work: pictures as files that carry their own history. Only the web process writes."""
