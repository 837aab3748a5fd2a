"""The store: pictures as files that carry their own history. Only the web process writes."""
