"""Files of requests, OpenAI's batch format: answered by the server's application without a server."""
