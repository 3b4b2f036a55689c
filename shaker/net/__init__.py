"""The only sockets: connect, TLS, back-off, deadlines."""
