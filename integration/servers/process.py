"""Read by s3.py and hadoop.py: what is known of a process."""


def alive(pid):
    """Whether the process runs; one that ended but was not waited for does not."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
