"""Hosts for the fake cloud: a network namespace each, with the machine's address and an SSH server of its own."""

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
    """All hosts of one test session."""

    folder: Path
    bridge: str = "mlbtest0"
    gateway: str = "10.77.0.1/16"
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def up(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        if not Path(f"/sys/class/net/{self.bridge}").exists():
            script = f"link add {self.bridge} type bridge\naddr add {self.gateway} dev {self.bridge}\n"
            run("ip", "-batch", "-", script=script)
            run("ip", "link", "set", self.bridge, "up")

    def down(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)

    def start(self, name: str, address: str, authorized_key: str, gpus: int) -> str:
        """Start a host and give its public host key."""
        home = self.folder / name
        home.mkdir()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "hostkey"))
        (home / "authorized_keys").write_text(f"{authorized_key}\n")
        (home / "bin").mkdir()
        (home / "bin" / "nvidia-smi").write_text(NVIDIA_SMI.format(count=gpus))
        (home / "bin" / "nvidia-smi").chmod(0o755)
        (home / "sshd.conf").write_text(self._sshd_conf(home))
        space, cable = _names(name)
        run("ip", "netns", "add", space)
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "link", "set", cable, "master", self.bridge, "up")
        setup = f"addr add {address}/16 dev eth0\nlink set eth0 up\nlink set lo up\n"
        run("ip", "-n", space, "-batch", "-", script=setup)
        # A developer's ~/.bashrc runs at every login, and may take longer than the check itself.
        quiet = "[ ! -f ~/.bashrc ] || mount --bind /dev/null ~/.bashrc"
        inside = f"{quiet}; hostname {name}; exec /usr/sbin/sshd -D -f {home}/sshd.conf -E {home}/log"
        command = ["ip", "netns", "exec", space, "unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.processes[name] = subprocess.Popen(
            [*command, "sh", "-c", inside], stdin=subprocess.DEVNULL, start_new_session=True
        )
        return " ".join((home / "hostkey.pub").read_text().split()[:2])

    def kill(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        subprocess.run(["ip", "netns", "del", _names(name)[0]], capture_output=True, check=False)

    def _sshd_conf(self, home: Path) -> str:
        return (
            f"HostKey {home}/hostkey\nAuthorizedKeysFile {home}/authorized_keys\nPidFile none\nUsePAM no\nUseDNS no\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nStrictModes no\n"
            f"MaxStartups 100:30:200\nSetEnv PATH={home}/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        )


def _names(name: str) -> tuple[str, str]:
    """Names of the namespace and of its cable: an interface's may have 15 characters."""
    short = name.replace("i-", "")[:10]
    return f"mlb{short}", f"v{short}"
