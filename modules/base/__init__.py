"""The ground floor that everything else uses: errors, events, fields, pictures, files, names, logs."""
