"""The loaded engine over HTTP, in OpenAI's and vLLM's shapes.

Routes parse and answer; ``Desk`` is their only way to the engine. Everything runs on one event loop, on a thread of its
own inside a notebook. fastapi and uvicorn come with the extra ``serve`` and are imported with the first server.
"""
