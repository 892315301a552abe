"""The nodes of the fleet: the servers that share its database, and what each of them does."""

from fastapi import APIRouter
from pydantic import Field

from fleet.api.access import Given, Reader
from fleet.api.page import Model
from fleet.api.problem import responses
from fleet.api.times import iso
from fleet.store import node

router = APIRouter(tags=["nodes"])


class NodeItem(Model):
    """One node."""

    address: str = Field(description="Where the other nodes reach it.", examples=["10.0.0.1:4222"])
    version: str
    up: bool = Field(description="It was heard in the last 15 s.")
    jobs: list[str] = Field(description="The periodic work that it does at present.")
    started: str
    started_us: int
    seen: str
    seen_us: int


class Nodes(Model):
    """All nodes of the last day; none where one server is alone."""

    items: list[NodeItem]


@router.get("/nodes", responses=responses(401, 403, 422))
async def list_nodes(services: Given, _caller: Reader) -> Nodes:
    """List the servers that share the database; empty where one is alone."""
    found = await services.db.read(node.every)
    return Nodes(
        items=[
            NodeItem(
                address=one.address,
                version=one.version,
                up=one.is_up,
                jobs=list(one.jobs),
                started=iso(one.started_us),
                started_us=one.started_us,
                seen=iso(one.seen_us),
                seen_us=one.seen_us,
            )
            for one in found
        ]
    )
