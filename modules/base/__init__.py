"""Ground floor: what every other room stands on (errors, events, fields, pictures, files, names, logs)."""
