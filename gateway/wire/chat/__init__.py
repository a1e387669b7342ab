"""Chat completions as clients and upstreams speak them: read, written, listened to."""
