"""What a client can call: OpenAI's endpoints but responses and moderation, and our own."""
