"""An assistant as its maker's own library makes one: starts `nightdrop mcp`, and asks for a document through its tools.

Given as JSON: command, mode (of the handshake), env (for the portal), reader (a key with the scope read), nobody (an address at which no portal is), applicant.
Says what it got, one JSON object.
"""

import asyncio
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["NIGHTDROP_TEST_PARTS"], "python"))
from mcp import Client, MCPError, StdioServerParameters  # noqa: E402

given = json.loads(sys.argv[1])


def connected(**env):
    server = StdioServerParameters(command=given["command"], args=["mcp"], env={**given["env"], **env})
    return Client(server, mode=given["mode"], read_timeout_seconds=120)


async def refused(client, name, arguments, words):
    answer = await client.call_tool(name, arguments)
    text = answer.content[0].text
    assert answer.is_error and words in text and "\n" not in text, (name, arguments, text)


async def use(client, said):
    assert client.server_info.name == "nightdrop" and "request_document" in client.instructions
    said["protocol"] = client.protocol_version
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert sorted(tools) == ["list_requests", "missing", "request_document", "request_status", "revoke"], sorted(tools)
    for tool in tools.values():
        assert tool.description and tool.output_schema["type"] == "object", tool.name
        assert tool.input_schema["additionalProperties"] is False, tool.name
        for name, field in tool.input_schema["properties"].items():
            assert field.get("description"), f"{tool.name}.{name} is not described"
    assert tools["missing"].annotations.read_only_hint and tools["revoke"].annotations.destructive_hint

    async def call(name, **arguments):
        # The library checks the answer against the tool's own schema.
        answer = await client.call_tool(name, arguments)
        assert not answer.is_error, answer.content
        return answer.structured_content

    who = {"provider": "sandbox", "applicant": given["applicant"]}
    said["missing"] = await call("missing", **who)
    once = {**who, "document": "passport", "ticket": "ZD-4711", "expires_in": "2h", "idempotency_key": given["mode"]}
    issued = await call("request_document", **once)
    assert issued == await call("request_document", **once), "the same key gives the same link"
    assert issued["url"] in issued["message"]["body"] and "qr_svg" not in issued
    said["issued"] = issued
    coded = await call("request_document", **who, document="passport", passcode=True)
    assert len(coded["passcode"]) == 6

    listed = await call("list_requests", applicant=given["applicant"], state="awaiting")
    ids = [request["id"] for request in listed["requests"]]
    assert ids[:2] == [coded["id"], issued["id"]], ids
    oldest = await call("list_requests", sort="oldest")
    assert oldest["requests"] == (await call("list_requests", limit=200))["requests"][::-1], oldest
    assert (await call("list_requests", assigned="none", limit=200))["requests"] == oldest["requests"][::-1]
    await refused(client, "list_requests", {"sort": "random"}, "expiry")
    page = await call("list_requests", limit=1)
    assert len(page["requests"]) == 1 and page["next_cursor"]
    assert (await call("list_requests", limit=1, cursor=page["next_cursor"]))["requests"][0]["id"] == issued["id"]
    status = await call("request_status", id=issued["id"])
    assert status["link"]["state"] == "active" and status["timeline"][0]["action"] == "link.issued", status
    assert (await call("revoke", id=coded["id"]))["state"] == "revoked"
    for seen in (listed, status):
        assert issued["url"] not in json.dumps(seen), "a link is returned once"

    # What goes wrong is an answer that says what to do.
    await refused(client, "request_document", {**who, "document": "no such thing"}, "document")
    await refused(client, "request_document", {"provider": "sandbox"}, "missing field `applicant`")
    await refused(client, "request_status", {"id": "req_nothing"}, "There is no such thing")
    await refused(client, "list_requests", {"state": "lost"}, "awaiting")
    await refused(client, "revoke", {"id": issued["id"], "token": "x"}, "unknown field `token`")
    try:
        await client.call_tool("download", {"id": issued["id"]})
    except MCPError as error:
        assert "no such tool" in str(error), error
    else:
        raise AssertionError("a tool that is not there was called")


async def main():
    said = {}
    async with connected() as client:
        await use(client, said)
    async with connected(NIGHTDROP_TOKEN=given["reader"]) as client:
        await client.call_tool("list_requests", {})
        await refused(client, "request_document", {"provider": "sandbox", "applicant": "a", "document": "passport"}, "Use a key with that scope")
        await refused(client, "revoke", {"id": said["issued"]["id"]}, "(auth.forbidden)")
    async with connected(NIGHTDROP_TOKEN="ndk_x") as client:
        await refused(client, "list_requests", {}, "Check NIGHTDROP_TOKEN")
    async with connected(NIGHTDROP_URL=given["nobody"]) as client:
        await refused(client, "list_requests", {}, "cannot be reached")
    print(json.dumps(said))


asyncio.run(main())
