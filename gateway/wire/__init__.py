"""The shapes that clients and upstreams speak: requests, answers, streams, errors, and the rules of providers."""
