"""Pictures that are read, changed and written a band at a time, because whole they would not fit into memory."""
