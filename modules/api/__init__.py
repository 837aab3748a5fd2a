"""The HTTP API, which turns requests into jobs and reports their events. docs/api-v1.md lists the routes."""
