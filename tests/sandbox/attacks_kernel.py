"""Programs that call the kernel in ways that a sandbox has to refuse; see `attacks`."""

from __future__ import annotations

KERNEL: dict[str, str] = {
    "calls that are newer than the filter": """
for number in range(453, 700): fails(f"call {number}", (number, number), 0, 0, 0, 0, 0, 0)
for number in (1 << 30, (1 << 31) - 1, 999999): fails("call", (number, number), 0, 0)
""",
    "a filter of its own over the filter": """
import struct
class Program(ctypes.Structure): _fields_ = [("n", ctypes.c_ushort), ("at", ctypes.c_void_p)]
def run():
    text = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
    libc.prctl(22, 2, ctypes.byref(Program(1, ctypes.addressof(text))), 0, 0)
    fails("unshare", (272, 97), 0x10000000); fails("ptrace", (101, 117), 0, 0, 0, 0)
    sys.stdout.flush()
child(run)
""",
    "a filter that asks its maker": """
import struct
class Program(ctypes.Structure): _fields_ = [("n", ctypes.c_ushort), ("at", ctypes.c_void_p)]
def run():
    text = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FC00000))
    given = Program(1, ctypes.addressof(text))
    libc.syscall(ctypes.c_long((317, 277)[os.uname().machine != "x86_64"]), 1, 8,
                 ctypes.byref(given))
    os.getppid()
pid = os.fork()
if not pid:
    run(); os._exit(0)
time.sleep(0.1); os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
""",
    "rights through a new program": """
done = subprocess.run(["/bin/sh", "-c", "grep -h Cap /proc/self/status"], capture_output=True)
for line in done.stdout.decode().splitlines():
    if int(line.split()[1], 16): breach(line)
with open("/proc/self/status") as file:
    fields = dict(line.split(":", 1) for line in file)
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    if int(fields[name], 16): breach(name, fields[name])
if fields["NoNewPrivs"].strip() != "1": breach("new privileges")
if fields["Seccomp"].strip() != "2": breach("no filter")
""",
    "capabilities taken back": """
head = (ctypes.c_uint * 2)(0x20080522, 0)
fails("capset", (126, 91), ctypes.byref(head), ctypes.byref((ctypes.c_uint * 6)(*[0xFFFFFFFF] * 6)))
for number in range(41):
    if libc.prctl(47, 2, number, 0, 0) == 0: breach("ambient", number)
    if libc.prctl(23, number, 0, 0, 0) == 1: breach("bounding", number)
if libc.prctl(28, 0x2F, 0, 0, 0) == 0: breach("securebits")
if libc.prctl(38, 0, 0, 0, 0) == 0: breach("no_new_privs taken back")
""",
    "sockets for packets, routes and devices": """
for family in (16, 17, 9, 15, 21, 30, 34, 38, 40, 42, 43, 44):
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        refused(f"family {family}", socket.socket, family, kind)
for family in (socket.AF_INET, socket.AF_INET6):
    for protocol in (1, 2, 6, 17, 47, 58, 89, 132, 255):
        refused(f"raw {protocol}", socket.socket, family, socket.SOCK_RAW, protocol)
""",
    "connections that are opened by sending": """
for target in (("127.0.0.1", @PORT@), ("0.0.0.0", @PORT@)):
    for flags in (0x20000000, 0):
        s = socket.socket(); refused("fast open", s.sendto, b"x", flags, target); s.close()
        s = socket.socket(); s.setsockopt(6, 30, 1); refused("fast", s.connect, target); s.close()
for protocol in (262, 132, 33, 256):
    def run():
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
        s.settimeout(1); s.connect(("127.0.0.1", @PORT@))
    refused(f"protocol {protocol}", run)
""",
    "names and addresses of the world": """
refused("name", socket.getaddrinfo, "example.org", 80)
for family, target in ((socket.AF_INET, ("8.8.8.8", 53)), (socket.AF_INET6, ("2001::1", 53)),
                       (socket.AF_INET, ("169.254.169.254", 80)),
                       (socket.AF_INET, ("10.0.0.1", 1))):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        def run():
            s = socket.socket(family, kind); s.settimeout(1); s.connect(target); s.send(b"x")
        refused(str(target), run)
""",
    "interfaces and routes": """
import fcntl
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for request in (0x8914, 0x8916, 0x890B, 0x8924, 0x89A0, 0x8943, 0x400454CA):
    refused(hex(request), fcntl.ioctl, s, request, b"lo" + bytes(14) + b"\\1" + bytes(23))
names = {name for _, name in socket.if_nameindex()}
if names - {"lo"}: breach("interfaces", names)
""",
    "calls through the 32-bit door": """
if os.uname().machine == "x86_64":
    import mmap
    def run():
        code = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 7)
        code.write(bytes.fromhex("b836010000cd80c3"))  # unshare(0) by int 0x80
        at = ctypes.addressof(ctypes.c_char.from_buffer(code))
        got = ctypes.CFUNCTYPE(ctypes.c_int)(at)()
        if got == 0: os.write(1, b"BREACH int80\\n")
    child(run)
""",
    "personality and address space": """
for flags in (0x0040000, 0x0008, 0x20000000 | 8): fails("personality", (135, 92), flags)
fails("modify_ldt", (154, None), 0, ctypes.create_string_buffer(64), 64)
fails("iopl", (172, None), 3); fails("ioperm", (173, None), 0, 8, 1)
""",
    "policies of memory of others": """
mask = (ctypes.c_ulong * 2)(1, 0)
fails("set_mempolicy", (238, 237), 2, ctypes.byref(mask), 64)
fails("migrate_pages", (256, 238), 1, 64, ctypes.byref(mask), ctypes.byref(mask))
fails("move_pages", (279, 239), 1, 1, ctypes.byref(mask), None, ctypes.byref(mask), 2)
fails("process_madvise", (440, 440), 0, ctypes.byref(mask), 1, 21, 0)
fails("kcmp", (312, 272), 1, os.getpid(), 0, 0, 0)
""",
    "watches on everything": """
fails("fanotify", (300, 262), 0, 0)
made = 0
while made < 400 and libc.inotify_init() >= 0: made += 1
if made > 200: breach("watchers", made)
""",
    "descriptors handed around": """
import array
a, b = socket.socketpair()
top = os.open("/", os.O_PATH)
a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [top]))])
_, got, *_ = b.recvmsg(1, 64)
fd = array.array("i", got[0][2])[0]
refused("up", lambda: os.open("../" * 30 + "@SECRET@".lstrip("/"), os.O_RDONLY, dir_fd=fd))
def forge():
    import struct
    data = struct.pack("3i", 1, 0, 0)
    a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, data)])
refused("identity", forge)
""",
    "handles of processes": """
for pid in range(1, 300):
    if pid in (os.getpid(), os.getppid()): continue
    try: fd = os.pidfd_open(pid)
    except OSError: continue
    for number in (0, 9, 19): fails("pidfd_getfd", (438, 438), fd, number, 0)
    fails("setns", (308, 268), fd, 0x20020000)
    os.close(fd)
""",
    "terminals": """
import fcntl, termios
for path in ("/dev/tty", "/dev/console", "/dev/tty0", "/dev/tty1", "/dev/ttyS0", "/dev/vcs"):
    refused(path, os.open, path, os.O_RDWR)
for fd in range(3): refused("controlling", fcntl.ioctl, fd, termios.TIOCSCTTY, 0)
fails("vhangup", (153, 58))
""",
    "accounting, profiling and old calls": """
for number in (134, 156, 174, 177, 178, 180, 181, 183, 184, 185, 212, 236):
    if os.uname().machine == "x86_64": fails(f"call {number}", (number, None), 0, 0, 0, 0)
fails("perf", (298, 241), bytes(128), -1, 0, -1, 0)
fails("kexec_file_load", (320, 294), 0, 0, 0, None, 0)
fails("finit_module", (313, 273), 0, b"", 0); fails("delete_module", (176, 106), b"x", 0)
""",
    "core patterns and oom of others": """
for pid in (1, os.getppid()):
    if pid in (0, os.getpid()): continue
    for name in ("oom_score_adj", "coredump_filter", "timerslack_ns", "comm", "clear_refs",
                 "uid_map", "setgroups", "loginuid", "attr/current"):
        refused(f"{pid} {name}", lambda: open(f"/proc/{pid}/{name}", "wb", 0).write(b"1"))
refused("oom", lambda: open("/proc/self/oom_score_adj", "wb", 0).write(b"-900"))
for name in ("uid_map", "gid_map"):
    refused(name, lambda: open(f"/proc/self/{name}", "wb", 0).write(b"0 0 1"))
""",
    "control groups": """
for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"):
    refused(place, lambda: os.mkdir(place + "/@MARKER@"))
    refused(place, lambda: open(place + "/cgroup.procs", "wb", 0).write(b"%d" % os.getpid()))
""",
}
