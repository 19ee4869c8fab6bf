"""HTTP: the chat page, OpenAI's API, and the server's own endpoints. Each part imports only parts below it:

server       builds the application, loads models, listens
application  all routes and regular duties
options      what a server is asked to do
product      the chat product: its routes, its page, its answers
api          the page's endpoints, health, scores, administration
openai       OpenAI's endpoints
services     the objects that all endpoints share
upstream     models on other servers
access       who may ask, and how much
observe      metrics and the request log
models       loaded models, their threads, and stored responses
http         limits, bodies, errors, JSON and event streams
"""
