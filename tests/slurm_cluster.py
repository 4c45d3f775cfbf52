"""A SLURM of one node on this machine, of its own: no file or daemon of it is left afterwards."""

import contextlib
import fcntl
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

PROGRAMS = ("setpriv", "munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
INSTALL = "apt-get -qq install --yes --no-install-recommends slurmctld slurmd slurm-client munge"

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
KillWait=10
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def obstacle() -> str:
    """Why there can be no SLURM here, after trying to install it; empty where there is."""
    # Test processes that need it at the same time wait for the one that installs it.
    with (Path(tempfile.gettempdir()) / "install_slurm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _installation()


def _installation() -> str:
    if not _missing():
        return ""
    if os.geteuid() or not shutil.which("apt-get") or Path("/run/systemd/system").exists():
        return f"{', '.join(_missing())} missing, and only installed as root in a container of Debian"
    for command in ("timeout 60 apt-get -qq update", f"timeout 120 {INSTALL}"):
        options = {"DEBIAN_FRONTEND": "noninteractive", **os.environ}
        done = subprocess.run(command.split(), env=options, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{command} failed: {done.stderr.strip()[-300:]}"
    return f"{', '.join(_missing())} not in Debian's packages" if _missing() else ""


def _missing() -> list[str]:
    return [program for program in PROGRAMS if not _path(program)]


def _path(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class Cluster:
    """Runs the daemons, in a folder that goes with them."""

    def __init__(self) -> None:
        self._daemons: list[subprocess.Popen[bytes]] = []
        # Not pytest's folder: the path of a socket must be short, and munge wants none that only its owner can enter.
        self._temporary = tempfile.TemporaryDirectory(prefix="slurm")
        self.folder = Path(self._temporary.name)
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def __enter__(self) -> Self:
        self.folder.chmod(0o755)
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        ports = _free_ports(2)
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname().partition(".")[0],
                user=getpass.getuser(),
                folder=self.folder,
                controller_port=ports[0],
                node_port=ports[1],
            )
        )
        try:
            names = {
                "socket": "munge.socket",
                "key-file": "munge.key",
                "pid-file": "munge.pid",
                "seed-file": "munge.seed",
            }
            self._start(
                "munged", "--foreground", "--force", *(f"--{k}={self.folder / v}" for k, v in names.items())
            )
            self.wait_for(lambda: (self.folder / "munge.socket").exists(), 20)
            self._start("slurmctld", "-D")
            self._start("slurmd", "-D")
            self.wait_for(lambda: "State=IDLE" in self.run("scontrol", "show", "node", check=False), 20)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if len(self._daemons) == 3:
            self.run("scancel", f"--user={getpass.getuser()}", check=False)
            with contextlib.suppress(TimeoutError):
                self.wait_for(lambda: not self.run("squeue", "--noheader", check=False), 20)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._temporary.cleanup()

    def run(self, *command: str, check: bool = True) -> str:
        """What a command prints that knows the cluster."""
        done = subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if check and done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What the controller knows of a job."""
        shown = self.run("scontrol", "show", "job", number).split()
        return dict(word.split("=", 1) for word in shown if "=" in word)

    def wait(self, number: str, states: tuple[str, ...], seconds: float) -> dict[str, str]:
        """Waits until a job is in one of some states."""
        self.wait_for(lambda: self.job(number)["JobState"] in states, seconds)
        return self.job(number)

    def wait_for(self, happened: Callable[[], bool], seconds: float) -> None:
        """Waits for something, and for no longer than it may take."""
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"not within {seconds} s; the queue is {self.run('squeue', '--long', check=False)}"
                )
            if any(daemon.poll() is not None for daemon in self._daemons):
                logs = [path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log"))]
                raise RuntimeError("a daemon has ended:\n" + "\n".join(logs))
            time.sleep(0.1)

    def _start(self, program: str, *arguments: str) -> None:
        path = _path(program)
        assert path is not None
        # The daemons end with this process, however it ends.
        command = ["setpriv", "--pdeathsig", "TERM", path, *arguments]
        with (self.folder / f"{program}.log").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    command, env=self.environment, stdout=log, stderr=log, start_new_session=True
                )
            )


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
