"""What every request passes before it meets a route: hosts, passwords, sizes, headers."""
