"""Contest problems in C++ and Java: verdicts, compiler messages, and attacks on the sandbox."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium as gym
import pytest
from code_kinds import programs
from program_cheats import DOUBLE

from leafe_gym.envs.code import contest_set
from leafe_gym.envs.code.language import CPP, JAVA, language
from leafe_gym.envs.code.problem import Case, Cases, Problem
from leafe_gym.envs.code.programs import ProgramJudge
from leafe_gym.errors import SandboxUnavailable
from leafe_gym.sandbox.base import ProgramResult, SandboxLimits

needs_cpp = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
needs_java = pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK")
NAMES = sorted(contest_set.cpp_solutions())
WANTED = {
    "reference": {"accepted"},
    "wrong": {"wrong answer"},
    "slow": {"time limit exceeded", "memory limit exceeded"},
    "crash": {"runtime error", "memory limit exceeded"},
    "broken": {"compile error"},
}


@pytest.fixture(scope="module")
def judge() -> Iterator[ProgramJudge]:
    with programs(CPP) as one:
        yield one


def test_the_set_has_solutions_in_cpp() -> None:
    assert len(NAMES) >= 20
    assert set(NAMES) <= set(contest_set.builtin_problems())
    for name in NAMES:
        solutions = contest_set.cpp_solutions()[name]
        assert set(solutions) == {"reference", *contest_set.FAILING_CPP}
        assert len(set(solutions.values())) == len(solutions)


@needs_cpp
def test_references_pass_and_failing_solutions_fail(
    judge: ProgramJudge, counts: Callable[[int, int], int]
) -> None:
    for name in NAMES[:: counts(len(NAMES), 1)]:
        for kind, classes in WANTED.items():
            code = contest_set.cpp_solutions()[name][kind]
            verdict = judge.judge(contest_set.problem(name), code)
            assert verdict.kind in classes, (name, kind, verdict)
            if kind == "broken":
                assert "error:" in verdict.observation
                assert verdict.test == 0


CHANGING = r"""
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>
int deep(int n) { volatile char pad[900]; pad[0] = 1; return n ? deep(n - 1) + pad[0] : 0; }
int main() {
    int n;
    if (std::scanf("%d", &n) != 1) return 1;
    if (n == 11) std::abort();
    if (n == 12) *(volatile int*)0 = 1;
    if (n == 13) { volatile int zero = 0; std::printf("%d", n / zero); }
    if (n == 14) for (std::vector<std::vector<char>> kept;;) kept.emplace_back(1 << 20, 'x');
    if (n == 15) for (volatile int i = 0;; i = i + 1) {}
    if (n == 16) for (;;) std::puts("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    if (n == 17) return 3;
    if (n == 18) n = deep(100000) - 100000 + n;
    if (n == 19) throw std::bad_alloc();
    std::printf("%d\n", 2 * n);
}
"""
ENDINGS = {
    1: ("accepted", ""),
    11: ("runtime error", "killed by SIGABRT"),
    12: ("runtime error", "killed by SIGSEGV"),
    13: ("runtime error", "killed by SIGFPE"),
    14: ("memory limit exceeded", ""),
    15: ("time limit exceeded", ""),
    16: ("output limit exceeded", ""),
    17: ("runtime error", "exit code 3"),
    18: ("accepted", ""),
    19: ("memory limit exceeded", ""),
}


def doubled(number: int) -> Problem:
    cases = Cases((Case(f"{number}\n", f"{2 * number}\n"),), ())
    limit = 0.5 if ENDINGS[number][0].startswith("time") else 20.0  # where it is not the point
    return Problem(name="p", description="", make_tests=lambda: cases, time_limit=limit)


@needs_cpp
def test_verdicts_of_a_compiled_program(
    judge: ProgramJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How a program ends, by the number in its input; a deep stack is no error."""
    built = judge._build(CHANGING)
    assert not built[1]
    monkeypatch.setattr(ProgramJudge, "_build", lambda *_: built)
    for number, (kind, shown) in ENDINGS.items():
        verdict = judge.judge(doubled(number), "")
        assert verdict.kind == kind, (number, verdict)
        assert shown in verdict.observation


@needs_cpp
@pytest.mark.parametrize(
    "code",
    [
        "int main() { return 0 }",
        '#include "/etc/shadow"\nint main() {}',
        '#include "/dev/zero"\nint main() {}',
        "template<int n> struct A { A<n + 1> a; }; A<0> a; int main() {}",
        "int main() { missing(); }",
    ],
    ids=["syntax", "file", "endless", "templates", "name"],
)
def test_compile_errors_are_observations(judge: ProgramJudge, code: str) -> None:
    verdict = judge.judge(DOUBLE, code)
    assert verdict.kind == "compile error"
    assert verdict.feedback == "compile error"
    assert 0 < len(verdict.detail) < 3000
    assert "root:" not in verdict.detail


ATTACKS = r"""
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <initializer_list>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void breach(const char* what) { printf("BREACH %s\n", what); fflush(stdout); }
static void show(const char* path) {
    char text[4096];
    int fd = open(path, O_RDONLY);
    if (fd < 0) return;
    ssize_t n = read(fd, text, sizeof text - 1);
    if (n > 0) { text[n] = 0; printf("%s\n", text); }
    close(fd);
}

int main() {
    char what[32], given[512];
    int port;
    if (scanf("%31s %d %511s", what, &port, given) != 3) return 1;
    if (!strcmp(what, "fork")) for (;;) if (fork() == 0) setsid();
    if (!strcmp(what, "threads")) {
        int born = 0;
        while (born < 1000 && fork() > 0) born++;
        if (born > 100) breach("processes");
    }
    if (!strcmp(what, "memory")) for (;;) memset(malloc(1 << 24), 1, 1 << 24);
    if (!strcmp(what, "shared")) {
        for (int i = 0; i < 40; i++) {
            void* at = mmap(0, 1 << 26, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            if (at == MAP_FAILED) return 0;
            memset(at, 1, 1 << 26);
        }
        breach("shared memory");
    }
    if (!strcmp(what, "files")) {
        show(given);
        show("/etc/shadow");
        for (const char* path : {"/usr/bin/x", "/etc/x", "/x", "/dev/x"})
            if (open(path, O_CREAT | O_WRONLY, 0644) >= 0) breach(path);
    }
    if (!strcmp(what, "disk")) {
        int fd = open("big", O_CREAT | O_WRONLY, 0644);
        static char block[1 << 20];
        long taken = 0;
        while (taken < 1 << 29 && write(fd, block, sizeof block) > 0) taken += sizeof block;
        if (taken > 200 << 20) breach("disk");
    }
    if (!strcmp(what, "network")) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        inet_aton("127.0.0.1", &to.sin_addr);
        int s = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(s, (sockaddr*)&to, sizeof to) == 0) breach("host");
        inet_aton("192.0.2.1", &to.sin_addr);
        if (sendto(socket(AF_INET, SOCK_DGRAM, 0), "x", 1, 0, (sockaddr*)&to, sizeof to) >= 0)
            breach("network");
    }
    if (!strcmp(what, "kernel")) {
        if (mount("none", "/tmp", "tmpfs", 0, 0) == 0) breach("mount");
        if (syscall(SYS_ptrace, 16, 1, 0, 0) == 0) breach("ptrace");
        if (unshare(CLONE_NEWUSER) == 0) breach("namespace");
        if (setuid(0) == 0) breach("root");
        if (kill(1, SIGKILL) == 0) sleep(1);
    }
    if (!strcmp(what, "tests")) {
        for (const char* path : {".", "..", "/tmp", "/home/box", "/proc/1", "/proc/self"})
            if (DIR* folder = opendir(path)) {
                while (dirent* one = readdir(folder)) {
                    char name[600];
                    snprintf(name, sizeof name, "%s/%s", path, one->d_name);
                    if (strcmp(path, "/proc/self") || strchr("ce", one->d_name[0])) show(name);
                }
                closedir(folder);
            }
        open("kept", O_CREAT | O_WRONLY, 0644);
        open("/tmp/kept", O_CREAT | O_WRONLY, 0644);
    }
    if (!strcmp(what, "later")) {
        if (access("kept", F_OK) == 0 || access("/tmp/kept", F_OK) == 0) breach("kept file");
        for (int pid = 2; pid < 400; pid++)
            if (pid != getpid() && kill(pid, 0) == 0) breach("process of another");
    }
    printf("done\n");
}
"""
KINDS = (
    "fork",
    "threads",
    "memory",
    "shared",
    "files",
    "disk",
    "network",
    "kernel",
    "tests",
    "later",
)


@needs_cpp
def test_attacks_in_cpp_are_contained(judge: ProgramJudge, tmp_path: Path) -> None:
    """Each kind runs in the same sandbox, which works on afterwards."""
    secret = tmp_path / "secret"
    secret.write_text("the-secret-of-the-host")
    built, complaint = judge._build(ATTACKS)
    assert not complaint
    limits = SandboxLimits(call_s=3.0, cpu_s=1.0, memory_mb=128, disk_mb=32)
    ended: dict[str, ProgramResult] = {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for kind in KINDS:
            stdin = f"{kind} {port} {secret}\n"
            result = judge.runner.run(CPP.run, stdin, limits, built)
            ended[kind] = result
            assert "BREACH" not in result.stdout, (kind, result.stdout)
            assert "the-secret" not in result.stdout
            assert "root:" not in result.stdout
    assert ended["memory"].out_of_memory
    assert ended["fork"].timed_out or ended["fork"].signal
    for kind in ("files", "network", "tests", "later"):
        assert "done" in ended[kind].stdout, (kind, ended[kind])
    assert judge.runner.run(("sh", "-c", "echo 42"), "", limits).stdout == "42\n"


READS_TESTS = r"""
#include <fstream>
#include <iostream>
#include <string>
int main() {
    for (std::string path : {"input", "output", "../output", "/proc/self/cmdline"}) {
        std::ifstream file(path);
        for (std::string line; std::getline(file, line);) std::cout << line << '\n';
    }
}
"""


@needs_cpp
def test_hidden_tests_cannot_be_read(judge: ProgramJudge) -> None:
    verdict = judge.judge(DOUBLE, READS_TESTS)
    assert (verdict.kind, verdict.test) == ("wrong answer", 1)
    assert "9422" not in verdict.observation
    assert "4711" not in verdict.observation


def test_an_absent_compiler_is_no_compile_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (CPP, JAVA):
        said = f"sh: 1: {one.compiler}: not found\n"
        with programs(one) as judge:
            ended = ProgramResult(exit_code=127, stderr=said)
            monkeypatch.setattr(judge.runner.__class__, "run", lambda *_, e=ended: e)
            with pytest.raises(SandboxUnavailable, match=f"no {one.compiler.replace('+', '.')}"):
                judge.judge(DOUBLE, "")
            monkeypatch.undo()


@needs_cpp
def test_the_environment_takes_cpp() -> None:
    env = gym.make("leafe/CodeContests-v0", problem="odd-press", language="cpp")
    _, info = env.reset(seed=0)
    assert "C++" in info["instruction"]
    assert "input()" not in info["instruction"]
    broken = env.step("```cpp\nint main() { return x; }\n```")
    assert broken[0].startswith("Compile error.")
    assert "was not declared" in broken[0]
    code = contest_set.cpp_solutions()["odd-press"]["reference"]
    assert env.step(f"So:\n```c++\n{code}\n```")[1:3] == (1.0, True)
    env.close()


JAVA_CODE = """
import java.util.*;
public class Main {
    public static void main(String[] arguments) {
        long n = new Scanner(System.in).nextLong();
        List<long[]> kept = new ArrayList<>();
        while (n == 4711) kept.add(new long[1 << 20]);
        System.out.println(new Pair(n).doubled());
    }
    record Pair(long n) { long doubled() { return 2 * n; } }
}
"""


@needs_java
def test_java(counts: Callable[[int, int], int]) -> None:
    with programs(JAVA) as judge:
        verdict = judge.judge(DOUBLE, JAVA_CODE)
        assert (verdict.kind, verdict.test) == ("memory limit exceeded", 2)
        broken = judge.judge(DOUBLE, JAVA_CODE.replace("long n =", "int n ="))
        assert broken.kind == "compile error"
        assert "possible lossy conversion" in broken.observation
        if counts(0, 1):
            assert judge.judge(DOUBLE, JAVA_CODE.replace("4711", "-1")).accepted
            loop = JAVA_CODE.replace("n == 4711", "n == 1").replace("kept.add", "Math.abs")
            loop = loop.replace("new long[1 << 20]", "1")
            assert judge.judge(DOUBLE, loop).kind == "time limit exceeded"


def test_languages_by_name() -> None:
    assert [language(name).title for name in ("python", "cpp", "java")] == ["Python", "C++", "Java"]
