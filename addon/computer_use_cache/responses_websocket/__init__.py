"""Responses over a websocket, translated to and from HTTP. Each `response.create` message is answered as the same
request over HTTP would be, so both share their entries. No sockets and no clock.

https://developers.openai.com/api/docs/guides/websocket-mode
"""
