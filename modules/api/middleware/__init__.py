"""The checks that every request passes before it reaches a route: hosts, passwords, sizes, headers."""
