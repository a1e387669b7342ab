"""What clients and upstreams speak: the shapes that come in and go out, streams, errors, and what providers accept."""
