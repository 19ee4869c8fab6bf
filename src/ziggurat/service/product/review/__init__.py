"""Expert review over HTTP: drafts of chats and of the API, the experts' routes, the customer's, and regular duties."""
