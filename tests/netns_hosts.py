"""Hosts for tests: a network namespace each, with an address, a home folder and an SSH server of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

NVIDIA_SMI = '#!/bin/sh\nfor i in $(seq {count}); do echo "Tesla T4, 550.54.15, Disabled"; done\n'


def available() -> bool:
    tools = ("ip", "unshare", "ssh", "ssh-keygen")
    return os.geteuid() == 0 and all(map(shutil.which, tools)) and Path("/usr/sbin/sshd").exists()


def run(*argv: str, script: str | None = None) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True, input=script)


@dataclass
class Hosts:
    """All hosts of one test session, on one bridge."""

    folder: Path
    bridge: str = "mlbtest0"
    gateway: str = "10.77.0.1/16"
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    boots: dict[str, str] = field(default_factory=dict)
    """What each host runs from its start on, as a shell's text."""

    def up(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        if not Path(f"/sys/class/net/{self.bridge}").exists():
            run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "replace", self.gateway, "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        self._firewall("-I")

    def down(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        self._firewall("-D")
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)

    def start(self, name: str, address: str, authorized_key: str, gpus: int = 0, *, timer: str = "3600") -> str:
        """Start a host and give its public host key; `timer` is in how many seconds it says that it ends itself."""
        home = self.folder / name
        home.mkdir()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "hostkey"))
        (home / "authorized_keys").write_text(f"{authorized_key}\n")
        (home / "bin").mkdir()
        if gpus:
            self.program(name, "nvidia-smi", NVIDIA_SMI.format(count=gpus))
        self.home(name).mkdir()
        (home / "passwd").write_text(
            f"root:x:0:0:root:{self.home(name)}:/bin/bash\nsshd:x:100:65534::/run/sshd:/bin/false\n"
        )
        (home / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
        (home / "resolv.conf").write_text("")
        (home / "sshd.conf").write_text(self._sshd_conf(home))
        try:
            self._connect(name, address)
        except BaseException:
            self._disconnect(name)
            raise
        # Files of its own: where root is at home, and no name server, which would be waited for.
        own = "".join(f"mount --bind {home}/{file} /etc/{file}; " for file in ("passwd", "hosts", "resolv.conf"))
        ends = f"sh -c 'sleep \"$1\"; exit 0' mlb-deadline {timer} &" if timer else ":;"
        inside = f"{own}hostname {name}; {ends} exec /usr/sbin/sshd -D -f {home}/sshd.conf -E {home}/log"
        self.boots[name] = inside
        self._boot(name)
        return " ".join((home / "hostkey.pub").read_text().split()[:2])

    def home(self, name: str) -> Path:
        """The home folder of the host's user, as both sides see it."""
        return self.folder / name / "home"

    def program(self, name: str, program: str, text: str) -> None:
        """Put a program in front of all others on the host's PATH."""
        file = self.folder / name / "bin" / program
        file.write_text(text)
        file.chmod(0o755)

    def link(self, name: str, state: str) -> None:
        """Cut the host's cable (`down`), or mend it (`up`)."""
        run("ip", "link", "set", self._names(name)[1], state)

    def shape(self, name: str, rate: str) -> None:
        """Bound what the host can send and what it can receive: `100mbit`."""
        space, cable = self._names(name)
        bound = ["tc", "qdisc", "replace", "dev"]
        rule = ["root", "tbf", "rate", rate, "burst", "256kb", "latency", "100ms"]
        run(*bound, cable, *rule)
        run("ip", "netns", "exec", space, *bound, "eth0", *rule)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to every process on the host: SIGSTOP freezes it."""
        inside = _descendants(self.processes[name].pid)
        for pid in inside:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._disconnect(name)
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def restart(self, name: str) -> None:
        """Start the host anew: everything on it dies, its disk and its addresses stay."""
        process = self.processes[name]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._boot(name)

    def stop_timer(self, name: str) -> None:
        """As an image without cloud-init would be: nothing on the host ends it."""
        for pid in _descendants(self.processes[name].pid):
            if b"mlb-deadline" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)

    def _boot(self, name: str) -> None:
        apart = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.processes[name] = subprocess.Popen(
            ["ip", "netns", "exec", self._names(name)[0], *apart, "sh", "-c", self.boots[name]],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _connect(self, name: str, address: str) -> None:
        space, cable = self._names(name)
        run("ip", "netns", "add", space)
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "link", "set", cable, "master", self.bridge, "up")
        prefix = self.gateway.partition("/")[2]
        setup = f"addr add {address}/{prefix} dev eth0\nlink set eth0 up\nlink set lo up\n"
        run("ip", "-n", space, "-batch", "-", script=setup)
        # Another host may have had the address a moment ago.
        run("ip", "neigh", "flush", "dev", self.bridge, "to", address)

    def _disconnect(self, name: str) -> None:
        space, cable = self._names(name)
        # The kernel takes its time with a namespace; its cable's name is wanted again before that.
        subprocess.run(["ip", "link", "del", cable], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)

    def _firewall(self, verb: str) -> None:
        """A Docker engine that ran here leaves a rule that hosts on other bridges may not talk to each other."""
        if shutil.which("iptables"):
            rule = ["FORWARD", "-i", self.bridge, "-o", self.bridge, "-j", "ACCEPT"]
            subprocess.run(["iptables", "-w", verb, *rule], capture_output=True, check=False)

    def _names(self, name: str) -> tuple[str, str]:
        """Names of the namespace and of its cable: an interface's may have 15 characters."""
        short = f"{self.bridge.removeprefix('mlbtest')}{name.replace('i-', '')[:8]}"
        return f"mlb{short}", f"v{short}"

    def _sshd_conf(self, home: Path) -> str:
        return (
            f"HostKey {home}/hostkey\nAuthorizedKeysFile {home}/authorized_keys\nPidFile none\nUsePAM no\nUseDNS no\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nStrictModes no\n"
            f"MaxStartups 100:30:200\nSetEnv PATH={home}/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        )


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    return [*found, *(deeper for child in found for deeper in _descendants(child))]
