#!/usr/bin/env python3
"""A weak S3 store for the integration tests, Python's standard library alone.

It speaks the part of S3 that a client which lands files needs, path style, on
loopback, and it can be made to misbehave: by switches on the command line, or
at run time through /_control. Without a switch it behaves: conditional writes
are atomic, a cut upload leaves nothing behind, a restart finds its objects.

Not checked, ever: signatures (only the access key id is), policies, part sizes.

  GET  /_control   counts, open multipart uploads and the switches, as JSON
  POST /_control   a JSON object of switches to change, and these words:
    "reset_counts": true    sets the counts to zero
    "fail_next": [ ... ]    faults on chosen requests, replacing those pending;
                            [] ends them. Each is an object with
        "op"      e.g. "PutObject", "CompleteMultipartUpload"; "*" is any (default)
        "key"     a text that the key (or the prefix of a list) has in it; default any
        "mode"    "drop_after"   does the work, then drops the connection (default)
                  "drop_before"  reads the request, drops the connection, no work
                  "error"        answers "status" (default 503), no work
                  "error_after"  does the work, answers "status"
                  "hang"         does the work, waits "ms", then answers
        "skip"    lets so many matching requests pass first (default 0)
        "count"   hits so many after that (default 1)

Switches (on the command line with dashes, in JSON with underscores):
  ignore_conditions  If-None-Match and If-Match on writes are silently ignored
  ignore_completion  the same, where an upload in parts is completed alone
  race_window        milliseconds between the check of a condition and the write,
                     not under one lock: two writers may both win (0: atomic)
  fail_after_work    so many per cent of the requests lose the answer
  error_rate         so many per cent are answered 500 or 503, no work done
  fault_ops          the two rates strike only these operations (empty: all)
  delay              milliseconds before each answer
  page_size          most keys (or uploads, or parts) in one page of a list
  seed               of the dice of the two rates
"""

import argparse
import base64
import binascii
import collections
import email.utils
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import socket
import socketserver
import struct
import sys
import threading
import time
import urllib.parse
import uuid
import xml.etree.ElementTree as ET
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

BLOCK = 1 << 20
KEPT_HEADERS = ("content-type", "content-encoding", "content-disposition", "content-language", "cache-control", "expires")
MODES = ("drop_after", "drop_before", "error", "error_after", "hang")


class S3Error(Exception):
    def __init__(self, status, code, message=""):
        super().__init__(code)
        self.status, self.code, self.message = status, code, message or code


class Dropped(Exception):
    """The connection is to be dropped, without an answer."""


class Cut(Exception):
    """The client went away in the middle of a body."""


# --- switches and faults -----------------------------------------------------


def percent(text):
    value = float(str(text).rstrip("%"))
    if not 0 <= value <= 100:
        raise ValueError("not a percentage from 0 to 100")
    return value


def number(text):
    value = int(text)
    if isinstance(text, bool) or value < 0:
        raise ValueError("not a whole number from 0 on")
    return value


def flag(value):
    if not isinstance(value, bool):
        raise ValueError("not true or false")
    return value


def names(value):
    if isinstance(value, str):
        return [n for n in value.split(",") if n]
    return [str(n) for n in value]


SWITCHES = {
    "ignore_conditions": (flag, False),
    "ignore_completion": (flag, False),
    "race_window": (number, 0),
    "fail_after_work": (percent, 0.0),
    "error_rate": (percent, 0.0),
    "fault_ops": (names, []),
    "delay": (number, 0),
    "page_size": (number, 1000),
    "seed": (number, 0),
}


def rule_of(given):
    known = {"op": "*", "key": "", "mode": "drop_after", "skip": 0, "count": 1, "status": 503, "ms": 1000}
    strange = set(given) - set(known)
    if strange:
        raise ValueError("unknown in fail_next: " + ", ".join(sorted(strange)))
    rule = {**known, **given}
    if rule["mode"] not in MODES:
        raise ValueError("mode is one of " + ", ".join(MODES))
    for name in ("skip", "count", "status", "ms"):
        rule[name] = number(rule[name])
    return rule


class Control:
    def __init__(self, switches):
        self.lock = threading.Lock()
        self.switches = switches
        self.dice = random.Random(switches["seed"])
        self.rules = []
        self.reset()

    def reset(self):
        self.requests = collections.Counter()
        self.statuses = collections.Counter()
        self.faults = collections.Counter()
        self.overwrites = 0

    def change(self, wanted):
        """All or nothing: a mistake in one word changes no switch."""
        new, rules, reset = {}, None, False
        for name, value in wanted.items():
            if name == "fail_next":
                rules = [rule_of(r) for r in value]
            elif name == "reset_counts":
                reset = flag(value)
            elif name in SWITCHES:
                new[name] = SWITCHES[name][0](value)
            else:
                raise ValueError("unknown switch " + name)
        if new.get("page_size") == 0:
            raise ValueError("page_size is at least 1")
        with self.lock:
            self.switches.update(new)
            if "seed" in new:
                self.dice.seed(new["seed"])
            if rules is not None:
                self.rules = rules
            if reset:
                self.reset()

    def fault_for(self, op, key):
        """The fault which strikes this request, as (mode, status, ms), or None."""
        with self.lock:
            self.requests[op] += 1
            for rule in self.rules:
                if rule["op"] not in ("*", op) or rule["key"] not in key or not rule["count"]:
                    continue
                if rule["skip"]:
                    rule["skip"] -= 1
                    continue
                rule["count"] -= 1
                self.faults[rule["mode"]] += 1
                return rule["mode"], rule["status"], rule["ms"]
            s = self.switches
            if s["fault_ops"] and op not in s["fault_ops"]:
                return None
            # Both dice are rolled each time, so that a change of one rate does
            # not shift what the other hits.
            error, drop = self.dice.random() * 100, self.dice.random() * 100
            if error < s["error_rate"]:
                self.faults["error"] += 1
                return "error", self.dice.choice((500, 503)), 0
            if drop < s["fail_after_work"]:
                self.faults["drop_after"] += 1
                return "drop_after", 0, 0
            return None

    def report(self, store):
        with store.lock:
            uploads = [
                {"bucket": u["bucket"], "key": u["key"], "upload_id": i, "parts": len(u["parts"])}
                for i, u in sorted(store.uploads.items())
            ]
            objects = {b: len(keys) for b, keys in store.buckets.items()}
        with self.lock:
            return {
                "switches": dict(self.switches),
                "requests": dict(self.requests),
                "statuses": dict(self.statuses),
                "faults": dict(self.faults),
                "overwrites": self.overwrites,
                "objects": objects,
                "open_uploads": len(uploads),
                "uploads": uploads,
                "fail_next": [r for r in self.rules if r["count"]],
            }


# --- the store ---------------------------------------------------------------


class Store:
    """Objects on disk, their descriptions in memory and beside them as JSON.

    ROOT/b/BUCKET/HASH-OF-KEY.json    the description; put in place by one rename
    ROOT/d/ID                         bytes of objects and of parts
    ROOT/u/UPLOAD-ID.json             an open upload with its parts
    """

    def __init__(self, root):
        self.lock = threading.RLock()
        self.root = pathlib.Path(root)
        for sub in ("b", "d", "u"):
            (self.root / sub).mkdir(parents=True, exist_ok=True)
        self.buckets, self.uploads = {}, {}
        for folder in sorted((self.root / "b").iterdir()):
            found = [json.loads(p.read_text()) for p in folder.glob("*.json")]
            self.buckets[folder.name] = {o["key"]: o for o in found}
        for path in (self.root / "u").glob("*.json"):
            upload = json.loads(path.read_text())
            upload["parts"] = {int(n): p for n, p in upload["parts"].items()}
            self.uploads[path.stem] = upload
        # What a kill left half written belongs to nothing.
        used = {o["data"] for keys in self.buckets.values() for o in keys.values()}
        used |= {p["data"] for u in self.uploads.values() for p in u["parts"].values()}
        for path in (self.root / "d").iterdir():
            if path.name not in used:
                path.unlink()

    def data(self, name):
        return self.root / "d" / name

    def _save(self, path, value):
        new = path.with_suffix(".new")
        new.write_text(json.dumps(value))
        os.replace(new, path)

    def _object_path(self, bucket, key):
        return self.root / "b" / bucket / (hashlib.sha256(key.encode()).hexdigest() + ".json")

    def bucket(self, name):
        if name not in self.buckets:
            raise S3Error(404, "NoSuchBucket")
        return self.buckets[name]

    def create_bucket(self, name):
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
            raise S3Error(400, "InvalidBucketName")
        with self.lock:
            if name in self.buckets:
                raise S3Error(409, "BucketAlreadyOwnedByYou")
            (self.root / "b" / name).mkdir()
            self.buckets[name] = {}

    def get(self, bucket, key):
        with self.lock:
            found = self.bucket(bucket).get(key)
        if found is None:
            raise S3Error(404, "NoSuchKey")
        return found

    def open(self, obj):
        return open(self.data(obj["data"]), "rb")

    def check(self, bucket, key, conditions):
        found = self.bucket(bucket).get(key)
        none_match, match = conditions
        if none_match is not None and found and (none_match.strip() == "*" or found["etag"] in tags(none_match)):
            raise S3Error(412, "PreconditionFailed")
        if match is not None:
            if not found:
                raise S3Error(404, "NoSuchKey")
            if match.strip() != "*" and found["etag"] not in tags(match):
                raise S3Error(412, "PreconditionFailed")

    def put(self, bucket, obj, conditions, race_window):
        """True where an object of that key was there before."""
        if race_window:
            with self.lock:
                self.check(bucket, obj["key"], conditions)
            time.sleep(race_window / 1000)
            conditions = (None, None)
        with self.lock:
            self.check(bucket, obj["key"], conditions)
            keys = self.bucket(bucket)
            old = keys.get(obj["key"])
            self._save(self._object_path(bucket, obj["key"]), obj)
            keys[obj["key"]] = obj
            if old:
                self.data(old["data"]).unlink()
            return old is not None

    def delete(self, bucket, key):
        with self.lock:
            old = self.bucket(bucket).pop(key, None)
            if old:
                self._object_path(bucket, key).unlink()
                self.data(old["data"]).unlink()

    # multipart

    def begin(self, bucket, key, described):
        with self.lock:
            self.bucket(bucket)
            # Ids in order of their making, which lists of one key promise.
            upload_id = "%016x%s" % (time.time_ns(), uuid.uuid4().hex[:8])
            self.uploads[upload_id] = {"bucket": bucket, "key": key, "begun": time.time(), "described": described, "parts": {}}
            self._save_upload(upload_id)
            return upload_id

    def _save_upload(self, upload_id):
        self._save(self.root / "u" / (upload_id + ".json"), self.uploads[upload_id])

    def upload(self, bucket, key, upload_id):
        found = self.uploads.get(upload_id)
        if not found or (found["bucket"], found["key"]) != (bucket, key):
            raise S3Error(404, "NoSuchUpload")
        return found

    def put_part(self, bucket, key, upload_id, part_number, part):
        with self.lock:
            upload = self.upload(bucket, key, upload_id)
            old = upload["parts"].get(part_number)
            upload["parts"][part_number] = part
            self._save_upload(upload_id)
            if old:
                self.data(old["data"]).unlink()

    def assemble(self, bucket, key, upload_id, wanted):
        """The object that the parts make, its bytes written under a new name."""
        with self.lock:
            upload = self.upload(bucket, key, upload_id)
            if not wanted or [n for n, _ in wanted] != sorted({n for n, _ in wanted}):
                raise S3Error(400, "InvalidPartOrder" if wanted else "MalformedXML")
            parts = []
            for n, etag in wanted:
                part = upload["parts"].get(n)
                if not part or part["etag"] != etag:
                    raise S3Error(400, "InvalidPart")
                parts.append(part)
            # Opened under the lock: a file once open outlives its removal.
            files = [self.open(p) for p in parts]
        name = uuid.uuid4().hex
        try:
            with open(self.data(name), "wb") as out:
                for f in files:
                    shutil.copyfileobj(f, out, BLOCK)
        finally:
            for f in files:
                f.close()
        whole = hashlib.md5(b"".join(binascii.unhexlify(p["etag"]) for p in parts)).hexdigest()
        return {
            "key": key, "data": name, "size": sum(p["size"] for p in parts), "etag": "%s-%d" % (whole, len(parts)),
            "changed": time.time(), **upload["described"],
        }

    def end(self, bucket, key, upload_id):
        with self.lock:
            upload = self.upload(bucket, key, upload_id)
            del self.uploads[upload_id]
            (self.root / "u" / (upload_id + ".json")).unlink()
            for part in upload["parts"].values():
                self.data(part["data"]).unlink()


def tags(header):
    return [t.strip().strip('"') for t in header.split(",")]


def page(entries, prefix, delimiter, after, most):
    """One page of a list: (found, common prefixes, last, truncated).

    entries are (name, value), sorted; after is the last name or common prefix
    of the page before."""
    found, common, last = [], [], None
    for name, value in entries:
        if not name.startswith(prefix):
            continue
        shown = name
        if delimiter:
            cut = name.find(delimiter, len(prefix))
            if cut >= 0:
                shown = name[: cut + len(delimiter)]
        # A page that ended with a common prefix goes on behind all of it.
        if after and (name <= after or (shown != name and shown <= after)):
            continue
        if shown != name and common and common[-1] == shown:
            continue
        if len(found) + len(common) >= most:
            return found, common, last, True
        if shown != name:
            common.append(shown)
        else:
            found.append((name, value))
        last = shown
    return found, common, last, False


# --- bodies ------------------------------------------------------------------


class Plain:
    """A body of a known length."""

    def __init__(self, f, length):
        self.f, self.left = f, length

    def read(self, most):
        got = self.f.read(min(most, self.left))
        if not got and self.left and most:
            raise Cut()
        self.left -= len(got)
        return got

    def line(self):
        got = self.f.readline(min(65536, self.left))
        self.left -= len(got)
        if not got.endswith(b"\n"):
            raise Cut()
        return got.strip()

    def drain(self):
        while self.read(BLOCK):
            pass


class Chunked(Plain):
    """HTTP's Transfer-Encoding: chunked; and, set upon another body, the
    aws-chunked of S3, which adds ;chunk-signature= and trailers of its own."""

    def __init__(self, f, aws=False):
        self.f, self.aws, self.left, self.first, self.done, self.trailers = f, aws, 0, True, False, {}

    def _line(self):
        if self.aws:
            return self.f.line()
        got = self.f.readline(65536)
        if not got.endswith(b"\n"):
            raise Cut()
        return got.strip()

    def _next(self):
        if not self.first and self._line():
            raise S3Error(400, "IncompleteBody", "a chunk does not end where it should")
        self.first = False
        try:
            self.left = int(self._line().split(b";")[0], 16)
        except ValueError:
            raise S3Error(400, "IncompleteBody", "not a chunk's size") from None
        if not self.left:
            self.done = True
            # Some clients leave out the empty line behind the trailers.
            while not (self.aws and isinstance(self.f, Plain) and not isinstance(self.f, Chunked) and not self.f.left):
                line = self._line()
                if not line:
                    break
                name, _, value = line.decode("latin-1").partition(":")
                self.trailers[name.strip().lower()] = value.strip()
            if self.aws:
                self.f.drain()

    def read(self, most):
        if self.done:
            return b""
        if not self.left:
            self._next()
            if self.done:
                return b""
        got = self.f.read(min(most, self.left))
        if not got:
            raise Cut()
        self.left -= len(got)
        return got

    def line(self):
        got = b""
        while not got.endswith(b"\n"):
            one = self.read(1)
            if not one:
                raise Cut()
            got += one
        return got.strip()


class Sums:
    """The checksums of a body, those which the standard library can make."""

    KINDS = {"x-amz-checksum-sha1": hashlib.sha1, "x-amz-checksum-sha256": hashlib.sha256}

    def __init__(self, wanted):
        self.md5 = hashlib.md5()
        self.crc = 0 if "x-amz-checksum-crc32" in wanted else None
        self.more = {n: make() for n, make in self.KINDS.items() if n in wanted}

    def update(self, block):
        self.md5.update(block)
        if self.crc is not None:
            self.crc = zlib.crc32(block, self.crc)
        for m in self.more.values():
            m.update(block)

    def check(self, headers):
        made = {n: m.digest() for n, m in self.more.items()}
        if self.crc is not None:
            made["x-amz-checksum-crc32"] = struct.pack(">I", self.crc)
        for name, digest in made.items():
            if headers.get(name) and headers[name] != base64.b64encode(digest).decode():
                raise S3Error(400, "BadDigest", name + " does not fit the body")
        given = headers.get("content-md5")
        if given and given != base64.b64encode(self.md5.digest()).decode():
            raise S3Error(400, "BadDigest", "Content-MD5 does not fit the body")


# --- HTTP --------------------------------------------------------------------


def stamp(t):
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(t)) + "%03dZ" % (t % 1 * 1000)


def xml(name, inner):
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return (head + '<%s xmlns="http://s3.amazonaws.com/doc/2006-03-01/">%s</%s>' % (name, inner, name)).encode()


def tag(name, value):
    return "<%s>%s</%s>" % (name, escape(str(value)), name)


def boolean(value):
    return "true" if value else "false"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "weak-s3"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = 300

    def log_message(self, form, *args):
        if self.server.verbose:
            sys.stderr.write("%s %s\n" % (self.log_date_time_string(), form % args))

    def do_any(self):
        self.fault, self.body = None, None
        self.sums = None
        try:
            try:
                path, _, query = self.path.partition("?")
                self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
                path = urllib.parse.unquote(path)
                self.bucket, _, self.key = path.lstrip("/").partition("/")
                self.body = self.open_body()
                if path == "/_control":
                    return self.do_control()
                self.serve()
            except S3Error as e:
                self.answer_error(e)
        except (Dropped, Cut, ConnectionError, TimeoutError) as e:
            self.drop(reset=isinstance(e, Dropped))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any

    def open_body(self):
        encoding = self.headers.get("content-encoding", "")
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = Chunked(self.rfile)
        else:
            try:
                body = Plain(self.rfile, number(self.headers.get("content-length") or 0))
            except ValueError:
                self.close_connection = True
                body = Plain(self.rfile, 0)
        sha = self.headers.get("x-amz-content-sha256", "")
        if sha.startswith("STREAMING-") or "aws-chunked" in encoding:
            body = Chunked(body, aws=True)
        return body

    def serve(self):
        self.check_key_id()
        control, op = self.server.control, self.operation()
        # A list is known by its prefix, all else by its key.
        self.fault = control.fault_for(op, self.key or self.query.get("prefix", ""))
        if self.fault and self.fault[0] in ("error", "drop_before"):
            self.body.drain()
            if self.fault[0] == "drop_before":
                raise Dropped()
            raise S3Error(self.fault[1], "SlowDown" if self.fault[1] == 503 else "InternalError", "as asked for")
        getattr(self, "op_" + op)()

    def check_key_id(self):
        want = self.server.key
        if not want:
            return
        given = self.headers.get("authorization", "") or "Credential=" + self.query.get("X-Amz-Credential", "")
        found = re.search(r"Credential=([^/,\s]+)/", given)
        if not found:
            self.body.drain()
            raise S3Error(403, "AccessDenied")
        if found.group(1) != want:
            self.body.drain()
            raise S3Error(403, "InvalidAccessKeyId")

    def operation(self):
        q, method = self.query, self.command
        if not self.bucket:
            names = {"GET": "ListBuckets"}
        elif not self.key:
            names = {"PUT": "CreateBucket", "HEAD": "HeadBucket", "DELETE": "DeleteBucket"}
            names["GET"] = "ListMultipartUploads" if "uploads" in q else "GetBucketLocation" if "location" in q else "ListObjectsV2"
            if "delete" in q:
                names["POST"] = "DeleteObjects"
            known = {"uploads", "location", "delete", "list-type", "prefix", "delimiter", "continuation-token", "start-after", "max-keys",
                     "encoding-type", "fetch-owner", "key-marker", "upload-id-marker", "max-uploads", "x-id"}
            if {k for k in q if not k.startswith("X-Amz-")} - known or (names["GET"] == "ListObjectsV2" and method == "GET" and q.get("list-type") != "2"):
                names = {}
        elif "uploadId" in q:
            names = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload", "GET": "ListParts"}
        elif "uploads" in q:
            names = {"POST": "CreateMultipartUpload"}
        elif {"acl", "tagging", "retention", "legal-hold", "attributes", "versionId"} & set(q):
            names = {}
        else:
            names = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
        if method not in names or (method == "PUT" and "x-amz-copy-source" in self.headers):
            self.body.drain()
            raise S3Error(501, "NotImplemented")
        return names[method]

    # answers

    def answer(self, status=200, headers=(), body=b"", stream=None):
        mode = self.fault[0] if self.fault else None
        if mode == "drop_after":
            raise Dropped()
        if mode == "error_after":
            status = self.fault[1]
            headers, stream = {"Content-Type": "application/xml"}, None
            body = xml_error(S3Error(status, "InternalError", "as asked for"))
        if mode == "hang":
            time.sleep(self.fault[2] / 1000)
        self.send_out(status, headers, body, stream)

    def send_out(self, status, headers, body=b"", stream=None):
        delay = self.server.control.switches["delay"]
        if delay:
            time.sleep(delay / 1000)
        if self.body is not None:
            self.body.drain()
        with self.server.control.lock:
            self.server.control.statuses[str(status)] += 1
        headers = dict(headers)
        self.send_response(status)
        self.send_header("x-amz-request-id", uuid.uuid4().hex[:16].upper())
        # An answer without a body must not give a length, 204 and 304 have none.
        if "Content-Length" not in headers and status not in (204, 304):
            headers["Content-Length"] = str(len(body))
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        if body and self.command != "HEAD":
            self._headers_buffer.append(b"\r\n" + body)
            self.flush_headers()
        else:
            self.end_headers()
        if stream and self.command != "HEAD":
            f, left = stream
            while left:
                block = f.read(min(BLOCK, left))
                if not block:
                    raise Dropped()
                self.wfile.write(block)
                left -= len(block)

    def answer_xml(self, name, inner):
        self.answer(200, {"Content-Type": "application/xml"}, xml(name, inner))

    def answer_error(self, e):
        # Work that ended in an error (a 412, say) loses its answer as well.
        mode = self.fault[0] if self.fault else None
        if mode == "drop_after":
            raise Dropped()
        if mode == "error_after":
            e = S3Error(self.fault[1], "InternalError", "as asked for")
        if mode == "hang":
            time.sleep(self.fault[2] / 1000)
        body = b"" if e.status == 304 else xml_error(e)
        headers = {"Content-Type": "application/xml"}
        if e.status == 503:
            headers["Retry-After"] = "0"
        try:
            self.send_out(e.status, headers, body)
        except S3Error:  # the rest of the body is broken too
            self.body, self.close_connection = None, True
            self.send_out(e.status, headers, body)

    def drop(self, reset):
        """Ends the connection without an answer: every other time by a reset."""
        self.close_connection = True
        try:
            if reset and self.server.reset_now():
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # The reset leaves when the last reference is closed: the handler's
                # files hold one each, and finish() closes them.
            else:
                self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def do_control(self):
        control = self.server.control
        status, out = 200, None
        if self.command == "POST":
            raw = b""
            for block in iter(lambda: self.body.read(BLOCK), b""):
                raw += block
            try:
                control.change(json.loads(raw or b"{}"))
            except (ValueError, TypeError, AttributeError) as e:
                status, out = 400, {"error": str(e)}
        if out is None:
            out = control.report(self.server.store)
        body = json.dumps(out, indent=1, sort_keys=True).encode() + b"\n"
        self.body.drain()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # buckets

    def op_ListBuckets(self):
        store = self.server.store
        found = "".join("<Bucket>%s%s</Bucket>" % (tag("Name", b), tag("CreationDate", stamp(0))) for b in sorted(store.buckets))
        self.answer_xml("ListAllMyBucketsResult", "<Owner><ID>weak</ID></Owner><Buckets>%s</Buckets>" % found)

    def op_CreateBucket(self):
        self.body.drain()
        self.server.store.create_bucket(self.bucket)
        self.answer(200, {"Location": "/" + self.bucket})

    def op_HeadBucket(self):
        self.server.store.bucket(self.bucket)
        self.answer(200, {"x-amz-bucket-region": "us-east-1"})

    def op_DeleteBucket(self):
        store = self.server.store
        with store.lock:
            if store.bucket(self.bucket):
                raise S3Error(409, "BucketNotEmpty")
            del store.buckets[self.bucket]
            (store.root / "b" / self.bucket).rmdir()
        self.answer(204)

    def op_GetBucketLocation(self):
        self.server.store.bucket(self.bucket)
        self.answer_xml("LocationConstraint", "")

    # lists

    def most(self, name):
        try:
            asked = number(self.query.get(name) or 1000)
        except ValueError:
            raise S3Error(400, "InvalidArgument", name) from None
        return asked, min(asked, 1000, self.server.control.switches["page_size"])

    def shown(self):
        """How keys are written: as they are, or as encoding-type=url asks."""
        if self.query.get("encoding-type") == "url":
            return lambda k: urllib.parse.quote(k, safe="/-_.~")
        return lambda k: k

    def op_ListObjectsV2(self):
        q, show = self.query, self.shown()
        asked, most = self.most("max-keys")
        prefix, delimiter = q.get("prefix", ""), q.get("delimiter", "")
        after, token = q.get("start-after", ""), q.get("continuation-token")
        if token is not None:
            try:
                after = base64.urlsafe_b64decode(token.encode()).decode()
            except ValueError:
                raise S3Error(400, "InvalidArgument", "continuation-token") from None
        with self.server.store.lock:
            entries = sorted(self.server.store.bucket(self.bucket).items())
        found, common, last, more = page(entries, prefix, delimiter, after, most) if most else ([], [], None, False)
        out = [tag("Name", self.bucket), tag("Prefix", show(prefix)), tag("KeyCount", len(found) + len(common)), tag("MaxKeys", asked)]
        out.append(tag("IsTruncated", boolean(more)))
        if delimiter:
            out.append(tag("Delimiter", show(delimiter)))
        if q.get("encoding-type") == "url":
            out.append(tag("EncodingType", "url"))
        if token is not None:
            out.append(tag("ContinuationToken", token))
        if "start-after" in q:
            out.append(tag("StartAfter", show(q["start-after"])))
        if more:
            out.append(tag("NextContinuationToken", base64.urlsafe_b64encode(last.encode()).decode()))
        for key, o in found:
            inner = [tag("Key", show(key)), tag("LastModified", stamp(o["changed"])), tag("ETag", '"%s"' % o["etag"])]
            inner += [tag("Size", o["size"]), tag("StorageClass", "STANDARD")]
            out.append("<Contents>%s</Contents>" % "".join(inner))
        out += ["<CommonPrefixes>%s</CommonPrefixes>" % tag("Prefix", show(c)) for c in common]
        self.answer_xml("ListBucketResult", "".join(out))

    def op_ListMultipartUploads(self):
        q, show = self.query, self.shown()
        asked, most = self.most("max-uploads")
        prefix, delimiter = q.get("prefix", ""), q.get("delimiter", "")
        key_marker, id_marker = q.get("key-marker", ""), q.get("upload-id-marker", "")
        store = self.server.store
        with store.lock:
            store.bucket(self.bucket)
            open_ones = sorted((u["key"], i, u["begun"]) for i, u in store.uploads.items() if u["bucket"] == self.bucket)
        rows, common, more = [], [], False
        for key, upload_id, begun in open_ones:
            if not key.startswith(prefix):
                continue
            if key_marker and (key < key_marker or (key == key_marker and (not id_marker or upload_id <= id_marker))):
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            folder = key[: cut + len(delimiter)] if cut >= 0 else None
            if folder and (folder in common or (key_marker and folder <= key_marker)):
                continue
            if len(rows) + len(common) >= most:
                more = True
                break
            if folder:
                common.append(folder)
                last = (folder, "")
            else:
                rows.append((key, upload_id, begun))
                last = (key, upload_id)
        out = [tag("Bucket", self.bucket), tag("Prefix", show(prefix)), tag("KeyMarker", show(key_marker)), tag("UploadIdMarker", id_marker)]
        out += [tag("MaxUploads", asked), tag("IsTruncated", boolean(more))]
        if q.get("encoding-type") == "url":
            out.append(tag("EncodingType", "url"))
        if more and most:
            out += [tag("NextKeyMarker", show(last[0])), tag("NextUploadIdMarker", last[1])]
        for key, upload_id, begun in rows:
            inner = [tag("Key", show(key)), tag("UploadId", upload_id), tag("Initiated", stamp(begun)), tag("StorageClass", "STANDARD")]
            out.append("<Upload>%s</Upload>" % "".join(inner))
        out += ["<CommonPrefixes>%s</CommonPrefixes>" % tag("Prefix", show(c)) for c in common]
        self.answer_xml("ListMultipartUploadsResult", "".join(out))

    def op_ListParts(self):
        store = self.server.store
        asked, most = self.most("max-parts")
        try:
            after = number(self.query.get("part-number-marker") or 0)
        except ValueError:
            raise S3Error(400, "InvalidArgument", "part-number-marker") from None
        upload_id = self.query["uploadId"]
        with store.lock:
            parts = [p for p in sorted(store.upload(self.bucket, self.key, upload_id)["parts"].items()) if p[0] > after]
        shown, more = parts[:most], len(parts) > most
        out = [tag("Bucket", self.bucket), tag("Key", self.key), tag("UploadId", upload_id), tag("PartNumberMarker", after)]
        out += [tag("MaxParts", asked), tag("IsTruncated", boolean(more))]
        if more and shown:
            out.append(tag("NextPartNumberMarker", shown[-1][0]))
        for n, p in shown:
            inner = [tag("PartNumber", n), tag("LastModified", stamp(p["changed"])), tag("ETag", '"%s"' % p["etag"]), tag("Size", p["size"])]
            out.append("<Part>%s</Part>" % "".join(inner))
        self.answer_xml("ListPartsResult", "".join(out))

    # objects

    def conditions(self, ignored=("ignore_conditions",)):
        if any(self.server.control.switches[name] for name in ignored):
            return None, None
        return self.headers.get("if-none-match"), self.headers.get("if-match")

    def described(self):
        """What of the request's headers stays with the object."""
        kept = {}
        for name in KEPT_HEADERS:
            value = self.headers.get(name)
            if name == "content-encoding" and value:
                value = ", ".join(v for v in (p.strip() for p in value.split(",")) if v and v != "aws-chunked")
            if value:
                kept[name] = value
        meta = {n.lower(): v for n, v in self.headers.items() if n.lower().startswith("x-amz-meta-")}
        return {"kept": kept, "meta": meta}

    def receive(self):
        """Takes the body into a file: (name, size, md5); a bad one leaves none."""
        wanted = {n.lower() for n in self.headers}
        wanted |= {n.strip().lower() for n in self.headers.get("x-amz-trailer", "").split(",")}
        sums, size, name = Sums(wanted), 0, uuid.uuid4().hex
        path = self.server.store.data(name)
        try:
            with open(path, "wb") as out:
                for block in iter(lambda: self.body.read(BLOCK), b""):
                    sums.update(block)
                    out.write(block)
                    size += len(block)
            told = self.headers.get("x-amz-decoded-content-length")
            if told and told != str(size):
                raise S3Error(400, "IncompleteBody")
            sums.check({**{n.lower(): v for n, v in self.headers.items()}, **getattr(self.body, "trailers", {})})
        except BaseException:
            path.unlink()
            raise
        return name, size, sums.md5.hexdigest()

    def store_object(self, obj, conditions):
        control, store = self.server.control, self.server.store
        try:
            if store.put(self.bucket, obj, conditions, control.switches["race_window"]):
                with control.lock:
                    control.overwrites += 1
        except BaseException:
            store.data(obj["data"]).unlink()
            raise

    def op_PutObject(self):
        self.server.store.bucket(self.bucket)
        name, size, md5 = self.receive()
        obj = {"key": self.key, "data": name, "size": size, "etag": md5, "changed": time.time(), **self.described()}
        self.store_object(obj, self.conditions())
        self.answer(200, {"ETag": '"%s"' % md5})

    def op_HeadObject(self):
        self.op_GetObject()

    def op_GetObject(self):
        store = self.server.store
        with store.lock:
            obj = store.get(self.bucket, self.key)
            f = store.open(obj)
        with f:
            etag = obj["etag"]
            match, none_match = self.headers.get("if-match"), self.headers.get("if-none-match")
            if match and match.strip() != "*" and etag not in tags(match):
                raise S3Error(412, "PreconditionFailed")
            if none_match and (none_match.strip() == "*" or etag in tags(none_match)):
                raise S3Error(304, "NotModified")
            headers = {"ETag": '"%s"' % etag, "Last-Modified": email.utils.formatdate(obj["changed"], usegmt=True), "Accept-Ranges": "bytes"}
            headers["Content-Type"] = "binary/octet-stream"
            headers.update({n.title(): v for n, v in obj["kept"].items()})
            headers.update(obj["meta"])
            status, first, last = 200, 0, obj["size"] - 1
            asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("range", "").strip())
            if asked and any(asked.groups()):
                a, b = asked.groups()
                if not a:
                    first = max(0, obj["size"] - int(b))
                else:
                    first, last = int(a), min(int(b) if b else last, last)
                if first >= obj["size"] or (a and b and int(b) < int(a)) or (not a and not int(b)):
                    raise S3Error(416, "InvalidRange")
                status = 206
                headers["Content-Range"] = "bytes %d-%d/%d" % (first, last, obj["size"])
            length = last - first + 1
            headers["Content-Length"] = str(length)
            f.seek(first)
            self.answer(status, headers, stream=(f, length))

    def op_DeleteObject(self):
        self.server.store.delete(self.bucket, self.key)
        self.answer(204)

    def read_xml(self):
        raw = b""
        for block in iter(lambda: self.body.read(BLOCK), b""):
            raw += block
            if len(raw) > 8 * BLOCK:
                raise S3Error(400, "MalformedXML", "too long")
        try:
            root = ET.fromstring(raw)
        except ET.ParseError:
            raise S3Error(400, "MalformedXML") from None
        for e in root.iter():
            e.tag = e.tag.rsplit("}", 1)[-1]
        return root

    def op_DeleteObjects(self):
        root = self.read_xml()
        quiet = root.findtext("Quiet", "").strip() == "true"
        out = []
        for e in root.findall("Object"):
            key = e.findtext("Key", "")
            self.server.store.delete(self.bucket, key)
            if not quiet:
                out.append("<Deleted>%s</Deleted>" % tag("Key", key))
        self.answer_xml("DeleteResult", "".join(out))

    # multipart

    def op_CreateMultipartUpload(self):
        self.body.drain()
        upload_id = self.server.store.begin(self.bucket, self.key, self.described())
        self.answer_xml("InitiateMultipartUploadResult", tag("Bucket", self.bucket) + tag("Key", self.key) + tag("UploadId", upload_id))

    def op_UploadPart(self):
        store, upload_id = self.server.store, self.query["uploadId"]
        try:
            n = number(self.query.get("partNumber", ""))
        except ValueError:
            n = 0
        if not 1 <= n <= 10000:
            raise S3Error(400, "InvalidArgument", "partNumber")
        with store.lock:
            store.upload(self.bucket, self.key, upload_id)
        name, size, md5 = self.receive()
        try:
            store.put_part(self.bucket, self.key, upload_id, n, {"data": name, "size": size, "etag": md5, "changed": time.time()})
        except BaseException:
            store.data(name).unlink()
            raise
        self.answer(200, {"ETag": '"%s"' % md5})

    def op_CompleteMultipartUpload(self):
        store, upload_id = self.server.store, self.query["uploadId"]
        root = self.read_xml()
        try:
            wanted = [(int(p.findtext("PartNumber", "")), p.findtext("ETag", "").strip().strip('"')) for p in root.findall("Part")]
        except ValueError:
            raise S3Error(400, "MalformedXML") from None
        obj = store.assemble(self.bucket, self.key, upload_id, wanted)
        self.store_object(obj, self.conditions(("ignore_conditions", "ignore_completion")))
        try:
            store.end(self.bucket, self.key, upload_id)
        except S3Error:
            pass  # the same request came twice at once, and the other one ended it
        inner = tag("Location", "/%s/%s" % (self.bucket, self.key)) + tag("Bucket", self.bucket) + tag("Key", self.key)
        self.answer_xml("CompleteMultipartUploadResult", inner + tag("ETag", '"%s"' % obj["etag"]))

    def op_AbortMultipartUpload(self):
        self.server.store.end(self.bucket, self.key, self.query["uploadId"])
        self.answer(204)


def xml_error(e):
    inner = tag("Code", e.code) + tag("Message", e.message)
    return ('<?xml version="1.0" encoding="UTF-8"?>\n<Error>%s<RequestId>weak</RequestId></Error>' % inner).encode()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, address, store, control, key, verbose):
        super().__init__(address, Handler)
        self.store, self.control, self.key, self.verbose = store, control, key, verbose
        self.drops = 0

    def server_bind(self):
        # Not HTTPServer's, which asks the resolver for a name we do not need.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def reset_now(self):
        with self.control.lock:
            self.drops += 1
            return self.drops % 2 == 0

    def shutdown_request(self, request):
        # Closed at once and without the polite shutdown, where a reset is due.
        linger = request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        if struct.unpack("ii", linger) == (1, 0):
            request.close()
        else:
            super().shutdown_request(request)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    p = argparse.ArgumentParser(description="A weak S3 store for tests, on loopback.", epilog="At run time: GET and POST /_control.")
    p.add_argument("dir", metavar="DIR", help="where the objects are kept; a restart finds them again")
    p.add_argument("--port", type=int, default=0, help="default: a free one, told on stdout")
    p.add_argument("--key", default="", help="the one access key id that is let in (default: all; signatures are never checked)")
    p.add_argument("--verbose", action="store_true", help="each request on stderr")
    for name, (kind, default) in SWITCHES.items():
        if kind is flag:
            p.add_argument("--" + name.replace("_", "-"), action="store_true")
        else:
            p.add_argument("--" + name.replace("_", "-"), type=kind, default=default, metavar="N")
    args = p.parse_args()
    if not args.page_size:
        p.error("--page-size is at least 1")
    control = Control({name: getattr(args, name) for name in SWITCHES})
    server = Server(("127.0.0.1", args.port), Store(args.dir), control, args.key, args.verbose)
    print("weak store on http://127.0.0.1:%d" % server.server_address[1], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
