#!/usr/bin/env python3
"""The little of S3 that starting a server needs, Python's standard library alone.

  s3.py ports COUNT                          free loopback ports, one a line
  s3.py taken PORT...                        those of them on which somebody listens
  s3.py ready ENDPOINT BUCKET SECONDS [PID]  waits until the server lists buckets,
                                             then makes BUCKET if it is not there;
                                             gives up early if process PID is gone

The access key and its secret are read from S3_KEY and S3_SECRET.
"""

import datetime
import hashlib
import hmac
import http.client
import os
import random
import socket
import sys
import time
import urllib.parse

from process import alive

REGION = "us-east-1"


def request(endpoint, method, path):
    """One request with an empty body, signed (version 4): (status, body)."""
    url = urllib.parse.urlsplit(endpoint)
    now = datetime.datetime.now(datetime.timezone.utc)
    day, stamp = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": url.netloc, "x-amz-content-sha256": empty, "x-amz-date": stamp}
    signed = ";".join(sorted(headers))
    canonical = "\n".join([method, path, "", *("%s:%s" % h for h in sorted(headers.items())), "", signed, empty])
    scope = "%s/%s/s3/aws4_request" % (day, REGION)
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + os.environ["S3_SECRET"]).encode()
    for word in (day, REGION, "s3", "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        os.environ["S3_KEY"], scope, signed, signature,
    )
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def ready(endpoint, bucket, seconds, pid=None):
    end, last = time.monotonic() + float(seconds), "no answer"
    while time.monotonic() < end:
        if pid and not alive(int(pid)):
            return "it ended by itself"
        try:
            status, body = request(endpoint, "GET", "/")
            if status == 200:
                status, body = request(endpoint, "HEAD", "/" + bucket)
                if status == 404:
                    status, body = request(endpoint, "PUT", "/" + bucket)
                if status == 200:
                    return None
            last = "it answers %d" % status
        except (OSError, http.client.HTTPException) as e:
            last = str(e) or type(e).__name__
        time.sleep(0.05)
    return last


def ports(count):
    """Ports which stay free: below those that the system gives to outgoing
    connections, so that a killed server finds its own again. Each has a free
    neighbour 10000 above, which SeaweedFS takes without asking."""
    found, dice = [], random.SystemRandom()
    for _ in range(5000):
        port = dice.randrange(10001, 20000)
        if port in found:
            continue
        try:
            for p in (port, port + 10000):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", p))
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            return found
    sys.exit("no free loopback ports")


def taken(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            s.bind(("127.0.0.1", port))
            s.listen()
            return False
        except OSError:
            return True


def main(args):
    if len(args) == 2 and args[0] == "ports":
        print("\n".join(map(str, ports(int(args[1])))))
    elif len(args) > 1 and args[0] == "taken":
        print("\n".join(p for p in args[1:] if taken(int(p))))
    elif len(args) in (4, 5) and args[0] == "ready":
        trouble = ready(*args[1:])
        if trouble:
            sys.exit("%s is not ready: %s" % (args[1], trouble))
    else:
        sys.exit(__doc__)


main(sys.argv[1:])
