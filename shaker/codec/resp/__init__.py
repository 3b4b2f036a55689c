"""RESP: replies, requests and the stream of commands, incrementally and in bounded memory."""
