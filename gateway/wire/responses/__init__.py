"""OpenAI's Responses as clients and upstreams speak them: read, written, listened to, and carried over to chats."""
