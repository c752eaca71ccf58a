"""One child process in a session of its own. It ends together with every process it started.

Three rules:

- The process counts as ended when its whole session is empty. Airflow puts tasks into process groups of their own, so a signal to
  the parent's group misses them.
- Output goes to a file, since a full pipe would stop the process.
- On Linux the process receives SIGTERM when the thread that started it dies, for example in a killed test run.
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
    """A command that can be started and stopped repeatedly.

    :param command: the argument list.
    :param env: the complete environment.
    :param folder: the working directory.
    :param log: receives the output, appended.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], folder: Path, log: Path):
        self.command, self.env, self.folder, self.log = list(command), dict(env), folder, log
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the command.

        :raises RuntimeError: when it is running already.
        """
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
        """Process id of the command, and of its session."""
        if self._child is None:
            raise RuntimeError(f"{self.command} was not started")
        return self._child.pid

    def exit_code(self) -> int | None:
        """None before the start and while the command runs; negative after a signal."""
        return self._child.poll() if self._child else None

    def members(self) -> list[psutil.Process]:
        """The living processes of the session, the command itself first."""
        if self._child is None:
            return []
        self._child.poll()  # reap it, else it stays a zombie
        members = []
        for pid in psutil.pids():
            try:
                if os.getsid(pid) == self._child.pid:
                    process = psutil.Process(pid)
                    if process.status() != psutil.STATUS_ZOMBIE:
                        members.append(process)
            except (OSError, psutil.Error):
                continue  # it has ended, or belongs to another user
        return sorted(members, key=lambda process: (process.pid != self._child.pid if self._child else 0, process.pid))

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    def stop(self, grace: float = 15.0) -> None:
        """Send SIGTERM, and after a grace period kill the rest of the session.

        :param grace: seconds between SIGTERM and SIGKILL.
        :raises RuntimeError: when a process survives SIGKILL.
        """
        self.ask_to_stop()
        self._wait(grace, lambda: self._child is None or self._child.poll() is not None)
        self.kill()

    def kill(self) -> None:
        """Kill the whole session at once.

        :raises RuntimeError: when a process survives.
        """
        self._signal(self.members(), signal.SIGKILL)
        if not self._wait(10.0, lambda: not self.members()):
            raise RuntimeError(f"{self.command}: these processes survived SIGKILL: {self.members()}")

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
