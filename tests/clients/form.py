"""Posts the form with one file, by a library's own way of writing forms.

Given as JSON: url (of the link), file, how (the library). Prints the status.
"""

import asyncio
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["NIGHTDROP_TEST_PARTS"], "python"))
given = json.loads(sys.argv[1])
url, path = given["url"], given["file"]
name = os.path.basename(path)


def by_requests():
    import requests

    with open(path, "rb") as file:
        return requests.post(url, files={"front": (name, file, "image/png")}).status_code


def by_urllib3():
    import urllib3

    with open(path, "rb") as file:
        return urllib3.request("POST", url, fields={"front": (name, file.read(), "image/png")}).status


def by_httpx():
    import httpx

    with open(path, "rb") as file:
        return httpx.post(url, files={"front": (name, file, "image/png")}).status_code


def by_aiohttp():
    import aiohttp

    async def post():
        form = aiohttp.FormData()
        with open(path, "rb") as file:
            form.add_field("front", file, filename=name, content_type="image/png")
            async with aiohttp.ClientSession() as session, session.post(url, data=form) as answer:
                return answer.status

    return asyncio.run(post())


print(globals()["by_" + given["how"]]())
