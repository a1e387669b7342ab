"""The running gateway as its users meet it: real clients, real sockets, a provider in a process of its own."""
