#!/usr/bin/env python3
"""Waits for Hadoop's servers, through their web pages; Python's standard library alone.

  hadoop.py namenode WEB SECONDS PID           until it serves and lists its root
  hadoop.py datanode WEB NAMENODE_WEB SECONDS PID
                                               until it has registered at the NameNode

Gives up early if process PID is gone. Either may be asked for after a restart, in
safe mode too.
"""

import getpass
import http.client
import json
import sys
import time
import urllib.error
import urllib.request


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def bean(web, name):
    beans = json.loads(get("%s/jmx?qry=Hadoop:%s" % (web, name)))["beans"]
    return beans[0] if beans else {}


def alive(pid):
    """Whether the process runs; one that ended but was not waited for does not."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def namenode(web):
    """What it lacks, or None. Listing is what a missing jar breaks first."""
    state = bean(web, "service=NameNode,name=NameNodeStatus").get("State")
    if state == "standby":
        return None
    if state != "active":
        return "its state is %s" % state
    try:
        get(web + "/webhdfs/v1/?op=LISTSTATUS&user.name=" + getpass.getuser())
    except urllib.error.HTTPError as e:
        if e.code != 401:  # it asks for Kerberos, and so it serves
            return "it answers %d: %s" % (e.code, e.read(200).decode(errors="replace"))
    return None


def datanode(web, of):
    addresses = bean(web, "service=DataNode,name=DataNodeInfo").get("NamenodeAddresses")
    if not addresses or None in json.loads(addresses).values() or not json.loads(addresses):
        return "it has not found its NameNode"
    live = json.loads(bean(of, "service=NameNode,name=NameNodeInfo").get("LiveNodes") or "{}")
    if not any(node["lastContact"] <= 2 for node in live.values()):
        return "its NameNode does not hear it"
    return None


def main(args):
    if len(args) == 4 and args[0] == "namenode":
        ask, seconds, pid = lambda: namenode(args[1]), args[2], args[3]
    elif len(args) == 5 and args[0] == "datanode":
        ask, seconds, pid = lambda: datanode(args[1], args[2]), args[3], args[4]
    else:
        sys.exit(__doc__)
    end, last = time.monotonic() + float(seconds), "no answer"
    while time.monotonic() < end:
        if not alive(int(pid)):
            last = "it ended by itself"
            break
        try:
            last = ask()
            if last is None:
                return
        except (OSError, ValueError, http.client.HTTPException) as e:
            last = str(e) or type(e).__name__
        time.sleep(0.1)
    sys.exit("the %s at %s is not ready: %s" % (args[0], args[1], last))


main(sys.argv[1:])
