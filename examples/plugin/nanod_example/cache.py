"""A feature: a cache of the service's own, up before it and down after it.

features:
  cache: {megabytes: 64}
"""

from __future__ import annotations

from typing import Any, ClassVar

from nanod.extend import Addition, Block, refuse


class Cache:
    name = "cache"
    schema: ClassVar[dict[str, Any]] = {
        "title": "a mapping such as {megabytes: 64}",
        "type": "object",
        "properties": {
            "megabytes": {"title": "a number from 1 to 1024", "type": "integer", "minimum": 1, "maximum": 1024},
            "program": {"title": "the path of a redis-server", "type": "string", "pattern": "^/"},
        },
        "required": ["megabytes"],
        "additionalProperties": False,
    }

    def add(self, block: Block) -> Addition:
        socket = f"/run/{block.app}/{block.service.name}/cache.sock"
        program = block.said.get("program", "/usr/bin/redis-server")
        options = ["--port", "0", "--unixsocket", socket, "--save", "", "--maxmemory", f"{block.said['megabytes']}mb"]
        return Addition(
            environment={"CACHE_URL": f"unix://{socket}"},
            tasks={
                "cache": {
                    "description": f"Cache of {block.service.name}",
                    "lifecycle": {"hook": "prestart", "sidecar": True},
                    "command": [program, *options],
                    "health": {"unix": socket},
                }
            },
            # It is the service's own, the cache shares it, and it goes when both are down.
            opinions=()
            if block.service.runtime_dir
            else (refuse("the cache has its socket in the service's runtime_dir: say runtime_dir: true", block.at()),),
        )
