"""The HTTP API: requests come in, jobs and their events go out. docs/api-v1.md lists the routes."""
