"""Hosts for the fake cloud: a network namespace each, with the machine's address and an SSH server of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

BRIDGE = "mlbtest0"
GATEWAY = "10.77.0.1/16"
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
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def up(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        if not Path(f"/sys/class/net/{BRIDGE}").exists():
            run("ip", "-batch", "-", script=f"link add {BRIDGE} type bridge\naddr add {GATEWAY} dev {BRIDGE}\n")
            run("ip", "link", "set", BRIDGE, "up")

    def down(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True, check=False)

    def start(self, name: str, address: str, authorized_key: str, gpus: int, *, timer: str = "3600") -> str:
        """Start a host and give its public host key; `timer` is in how many seconds it says that it ends itself."""
        home = self.folder / name
        home.mkdir()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "hostkey"))
        (home / "authorized_keys").write_text(f"{authorized_key}\n")
        (home / "bin").mkdir()
        (home / "bin" / "nvidia-smi").write_text(NVIDIA_SMI.format(count=gpus))
        (home / "bin" / "nvidia-smi").chmod(0o755)
        (home / "sshd.conf").write_text(self._sshd_conf(home))
        try:
            self._connect(name, address)
        except BaseException:
            _disconnect(name)
            raise
        # A developer's ~/.bashrc runs at every login, and may take longer than the check itself.
        quiet = "[ ! -f ~/.bashrc ] || mount --bind /dev/null ~/.bashrc"
        ends = f"sh -c 'sleep \"$1\"; exit 0' mlb-deadline {timer} &" if timer else ":;"
        inside = f"{quiet}; hostname {name}; {ends} exec /usr/sbin/sshd -D -f {home}/sshd.conf -E {home}/log"
        apart = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.processes[name] = subprocess.Popen(
            ["ip", "netns", "exec", _names(name)[0], *apart, "sh", "-c", inside],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        return " ".join((home / "hostkey.pub").read_text().split()[:2])

    def stop_timer(self, name: str) -> None:
        """As an image without cloud-init would be: nothing on the host ends it."""
        inside = ["nsenter", "--target", str(_child_of(self.processes[name].pid)), "--pid", "--mount"]
        run(*inside, "pkill", "--full", "mlb-deadline")

    def kill(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _disconnect(name)
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def _connect(self, name: str, address: str) -> None:
        space, cable = _names(name)
        run("ip", "netns", "add", space)
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "link", "set", cable, "master", BRIDGE, "up")
        setup = f"addr add {address}/16 dev eth0\nlink set eth0 up\nlink set lo up\n"
        run("ip", "-n", space, "-batch", "-", script=setup)
        # Another host may have had the address a moment ago.
        run("ip", "neigh", "flush", "dev", BRIDGE, "to", address)

    def _sshd_conf(self, home: Path) -> str:
        return (
            f"HostKey {home}/hostkey\nAuthorizedKeysFile {home}/authorized_keys\nPidFile none\nUsePAM no\nUseDNS no\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nStrictModes no\n"
            f"MaxStartups 100:30:200\nSetEnv PATH={home}/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        )


def _disconnect(name: str) -> None:
    space, cable = _names(name)
    # The kernel takes its time with a namespace; its cable's name is wanted again before that.
    subprocess.run(["ip", "link", "del", cable], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


def _names(name: str) -> tuple[str, str]:
    """Names of the namespace and of its cable: an interface's may have 15 characters."""
    short = name.replace("i-", "")[:10]
    return f"mlb{short}", f"v{short}"


def _child_of(pid: int) -> int:
    """The first process inside: `unshare` itself stays outside of the namespace that it makes."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
