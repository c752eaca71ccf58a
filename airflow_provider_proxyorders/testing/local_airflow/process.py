"""One child process that is started in a session of its own and ended together with everything it started.

Three rules: a process counts as ended only when nobody of its session is left, since Airflow puts tasks into process
groups of their own, which a signal to the parent's group does not reach; output goes to a file, so that a full pipe
never stops it; and on Linux it is asked to end when the thread that started it dies without a word (a killed test run).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

#: asks the kernel for SIGTERM at the parent's death (PR_SET_PDEATHSIG is 1), then becomes the command
_TETHERED = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Process:
    """A command that can be started and ended again and again.

    :param command: the argument list.
    :param env: its whole environment.
    :param folder: where it runs.
    :param log: the file its output is appended to.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], folder: Path, log: Path):
        self.command, self.env, self.folder, self.log = list(command), dict(env), folder, log
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it must not be running."""
        if self.members():
            raise RuntimeError(f"{self.command} is running already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            tether = [sys.executable, "-S", "-c", _TETHERED] if sys.platform == "linux" else []
            self._child = subprocess.Popen(
                [*tether, *self.command],
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the command, which is the id of its session too."""
        if self._child is None:
            raise RuntimeError(f"{self.command} was not started")
        return self._child.pid

    def exit_code(self) -> int | None:
        """None while the command runs and before it was started; negative for a signal."""
        return self._child.poll() if self._child else None

    def members(self) -> list[psutil.Process]:
        """The living processes of its session, the command itself first."""
        if self._child is None:
            return []
        self._child.poll()  # reap it, else it is seen as a zombie
        found = []
        for pid in psutil.pids():
            try:
                if os.getsid(pid) == self._child.pid:
                    process = psutil.Process(pid)
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
            except (OSError, psutil.Error):
                continue  # gone meanwhile, or not ours to look at
        return sorted(found, key=lambda process: (process.pid != self._child.pid if self._child else 0, process.pid))

    def ask_to_stop(self) -> None:
        """Ask it to end, and do not wait."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    def stop(self, grace: float = 15.0) -> None:
        """Ask it to end, and end everybody of its session who is left.

        :param grace: seconds between asking and killing.
        :raises RuntimeError: when somebody is left all the same.
        """
        self.ask_to_stop()
        self._wait(grace, lambda: self._child is None or self._child.poll() is not None)
        self.kill()

    def kill(self) -> None:
        """End it and everybody of its session at once, without asking."""
        self._signal(self.members(), signal.SIGKILL)
        if not self._wait(10.0, lambda: not self.members()):
            raise RuntimeError(f"{self.command}: could not be killed: {self.members()}")

    @staticmethod
    def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
        for process in processes:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                pass

    @staticmethod
    def _wait(seconds: float, done: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True
