"""tuspy against a portal: uploads a file, stops in the middle, and resumes by the address it kept.

Given as JSON: url (of the part), file, chunk (bytes for each request).
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["NIGHTDROP_TEST_PARTS"], "python"))
from tusclient import client  # noqa: E402

given = json.loads(sys.argv[1])
size = os.path.getsize(given["file"])
portal = client.TusClient(given["url"])
said = {"filename": "pass.png", "filetype": "image/png"}

first = portal.uploader(given["file"], chunk_size=given["chunk"], metadata=said, upload_checksum=True)
first.upload(stop_at=size // 3)
assert 0 < first.offset < size, first.offset

second = portal.uploader(given["file"], chunk_size=given["chunk"], url=first.url, upload_checksum=True, retries=2)
assert second.offset == first.offset, (second.offset, first.offset)
second.upload()
assert second.offset == size, second.offset

# As if the answer to the last byte had been lost: it asks again, and hears that all has arrived.
third = portal.uploader(given["file"], chunk_size=given["chunk"], url=first.url, upload_checksum=True)
assert third.offset == size, third.offset
third.upload()
print("complete")
