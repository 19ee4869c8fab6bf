"""Fine-tuning jobs as OpenAI's client starts them."""
