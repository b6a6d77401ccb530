"""A proxy that passes every request on and every byte back, and does nothing else: what any process
between client and server costs on this machine.

    python -m benchmarks.proxy URL
"""

import asyncio
import sys

import aiohttp
from aiohttp import web


async def main(target: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def passed(request: web.Request) -> web.StreamResponse:
            body, kind = await request.read(), {"Content-Type": request.content_type}
            async with session.post(target + request.path, data=body, headers=kind) as answer:
                response = web.StreamResponse(status=answer.status)
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                return response

        app = web.Application()
        app.router.add_post("/{path:.*}", passed)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        print(f"a plain proxy at http://{host}:{port}/v1", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
