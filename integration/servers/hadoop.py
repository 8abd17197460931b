#!/usr/bin/env python3
"""Waits for Hadoop's and Hive's servers; Python's standard library alone.

  hadoop.py namenode WEB SECONDS PID           until it serves and lists its root
  hadoop.py datanode WEB NAMENODE_WEB SECONDS PID
                                               until it has registered at the NameNode
  hadoop.py port PORT SECONDS PID              until this process listens on 127.0.0.1:PORT,
                                               and nowhere else
  hadoop.py state WEB                          tells at once: active, standby or none

Gives up early if process PID is gone. Either may be asked for after a restart, in
safe mode too.
"""

import getpass
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request

from process import alive


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def bean(web, name):
    beans = json.loads(get("%s/jmx?qry=Hadoop:%s" % (web, name)))["beans"]
    return beans[0] if beans else {}


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
        return "it answers %d: %s" % (e.code, e.read(200).decode(errors="replace"))
    return None


def state(web):
    try:
        return bean(web, "service=NameNode,name=NameNodeStatus").get("State") or "none"
    except (OSError, ValueError, http.client.HTTPException):
        return "none"


def datanode(web, of):
    info = bean(web, "service=DataNode,name=DataNodeInfo")
    addresses = info.get("NamenodeAddresses")
    if not addresses or None in json.loads(addresses).values() or not json.loads(addresses):
        return "it has not found its NameNode"
    try:
        live = json.loads(bean(of, "service=NameNode,name=NameNodeInfo").get("LiveNodes") or "{}")
        heard = any(node["lastContact"] <= 2 for node in live.values())
    except urllib.error.HTTPError as e:
        if e.code != 401:
            raise
        # It tells only those who come with a ticket; so does the DataNode know that it was answered?
        actors = json.loads(info.get("BPServiceActorInfo") or "[]")
        heard = any(
            a["ActorState"] == "RUNNING" and int(a["LastHeartbeatResponseTime"]) <= 2 and int(a["LastBlockReport"]) >= 0
            for a in actors
        )
    if not heard:
        return "its NameNode does not hear it"
    return None


def port(number, pid):
    """Looked up, not asked: a connection would be seen by the server, and an old
    process on its way out would answer for the new one."""
    own = set()
    for fd in os.listdir("/proc/%s/fd" % pid):
        try:
            own.add(os.readlink("/proc/%s/fd/%s" % (pid, fd)))
        except FileNotFoundError:
            pass  # closed since
    for table in "tcp", "tcp6":
        with open("/proc/%s/net/%s" % (pid, table)) as f:
            for line in f.readlines()[1:]:
                word = line.split()
                address, listens = word[1].rsplit(":", 1), word[3] == "0A"
                if listens and int(address[1], 16) == int(number) and "socket:[%s]" % word[9] in own:
                    # 127.0.0.1, and the same as seen by IPv6.
                    return None if address[0].endswith("0100007F") else "it listens on other addresses too"
    return "it does not listen yet"


def main(args):
    if len(args) == 2 and args[0] == "state":
        print(state(args[1]))
        return
    if len(args) == 4 and args[0] == "namenode":
        ask, seconds, pid = lambda: namenode(args[1]), args[2], args[3]
    elif len(args) == 5 and args[0] == "datanode":
        ask, seconds, pid = lambda: datanode(args[1], args[2]), args[3], args[4]
    elif len(args) == 4 and args[0] == "port":
        ask, seconds, pid = lambda: port(args[1], args[3]), args[2], args[3]
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
