"""The embedded PostgreSQL with real processes: killed at any moment, it loses nothing and leaves nothing running."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from ledger import embedded
from ledger.embedded import APPLICATION, SUPERUSER, Cluster, _binaries
from ledger.errors import Misconfigured, Unavailable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds and kills processes by way of /proc")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

PROJECT = Path(__file__).parents[1]
PATIENCE_S = 60
_numbers = itertools.count(1)
_users: list[subprocess.Popen[str]] = []

USER = """
import sys
from pathlib import Path
import psycopg
from ledger.embedded import Cluster
from ledger.errors import LedgerError
cluster = Cluster(Path(sys.argv[1]))
try:
    with cluster.lease():
        with psycopg.connect(cluster.url("postgres", "postgres"), autocommit=True) as connection:
            if sys.argv[2] == "write":
                connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
                connection.execute("INSERT INTO kept VALUES (1)")
            connection.execute("SELECT 1")
        print("in", flush=True)
        sys.stdin.read()
except LedgerError as error:
    print(type(error).__name__, error, flush=True)
"""


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def processes(data: Path, which: str = "") -> dict[int, str]:
    """Living processes that have the folder in their command line (backends name no folder, but die with theirs)."""
    found = {}
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = os.fsdecode((process / "cmdline").read_bytes()).split("\0")
            ours = any(word == str(data) or word.startswith(f"{data}/") for word in words)
            if ours and which in " ".join(words):
                found[int(process.name)] = " ".join(words)
    return found


def keepers(data: Path) -> dict[int, str]:
    return processes(data, "-m ledger.embedded ")


def start_user(data: Path, doing: str = "look", python: str = sys.executable, **how: object) -> subprocess.Popen[str]:
    """A process that takes a lease, says so, and keeps it until its input ends."""
    environment = {"PYTHONPATH": str(PROJECT), **how.pop("env", {})}  # type: ignore[dict-item]
    user = subprocess.Popen(
        [python, "-c", USER, str(data), doing], text=True, env={**os.environ, **environment},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how,
    )  # fmt: skip
    _users.append(user)
    return user


def said(user: subprocess.Popen[str]) -> str:
    """Everything that the user says until it ends, which it is asked to."""
    out, err = user.communicate(timeout=PATIENCE_S)
    return (out + err).strip()


def kill(pids: object, how: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)


def rows(cluster: Cluster) -> int:
    with psycopg.connect(cluster.url(SUPERUSER, "postgres")) as connection:
        return connection.execute("SELECT count(*) FROM kept").fetchone()[0]


def require_nothing_left(data: Path) -> None:
    cluster = Cluster(data)
    assert cluster.stopped()
    until(lambda: not processes(data), "a process outlived its last user")
    assert list(cluster.socket.iterdir()) == [] and not (cluster.files / "postmaster.pid").exists()
    assert [path.name for path in cluster.home.iterdir()] == ["18"]


@pytest.fixture
def fresh(scratch: Path) -> Iterator[Path]:
    """A data folder that is not there yet; nothing may run on it when the test ends."""
    data = scratch / f"e{next(_numbers)}"
    yield data
    for user in _users:
        user.kill()
        user.communicate()
    _users.clear()
    if (data / "cluster" / "18").exists():
        require_nothing_left(data)
    assert not processes(data)
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="module")
def made(scratch: Path) -> Path:
    """A cluster with one row, stopped."""
    data = scratch / "made"
    assert said(start_user(data, "write")) == "in"
    require_nothing_left(data)
    return data


@pytest.fixture
def folder(fresh: Path, made: Path) -> Path:
    """A copy of `made`, which also shows that a data folder can be moved."""
    subprocess.run(["cp", "-a", made, fresh], check=True)
    return fresh


@pytest.fixture(scope="module")
def ordinary() -> tuple[pwd.struct_passwd, str]:
    """An ordinary user and a Python that it may run."""
    user = pwd.getpwnam("daemon")
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                [python, "-c", "import psycopg"], user="daemon", env=_packages(), cwd="/", check=False
            )
            if tried.returncode == 0:
                return user, python
    pytest.skip("the user daemon may run no Python that has our packages")


def _packages() -> dict[str, str]:
    return {"PYTHONPATH": f"{PROJECT}:{sysconfig.get_path('purelib')}"}


def start_ordinary(ordinary: tuple[pwd.struct_passwd, str], data: Path, doing: str = "look") -> subprocess.Popen[str]:
    user, python = ordinary
    return start_user(
        data, doing, python, env=_packages(), user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/"
    )


def own_folder(ordinary: tuple[pwd.struct_passwd, str], data: Path) -> None:
    data.mkdir(mode=0o700)
    os.chown(data, ordinary[0].pw_uid, ordinary[0].pw_gid)


# --- starting, stopping, being killed -------------------------------------------------------------


def test_many_processes_on_a_fresh_folder_share_one_server(fresh: Path) -> None:
    """Two that ran initdb side by side would write into one another's files."""
    users = [start_user(fresh) for _ in range(6)]
    assert [user.stdout.readline().strip() for user in users] == ["in"] * 6
    assert len(processes(fresh, "/postgres -D")) == len(keepers(fresh)) == 1
    for user in users:
        said(user)


def test_a_user_killed_while_the_cluster_is_made_leaves_a_good_cluster(fresh: Path) -> None:
    user = start_user(fresh)
    until(lambda: list(fresh.glob("cluster/building-*")), "initdb did not start")
    user.kill()
    assert said(start_user(fresh)) == "in"
    user.communicate()


def test_a_keeper_killed_while_the_cluster_is_made_is_followed_by_another(fresh: Path) -> None:
    user = start_user(fresh)
    until(lambda: list(fresh.glob("cluster/building-*/base")), "initdb did not start")
    kill(keepers(fresh))
    assert said(user) == "in"


def test_everything_killed_while_the_cluster_is_made_is_made_anew(fresh: Path) -> None:
    user = start_user(fresh)
    until(lambda: list(fresh.glob("cluster/building-*/base")), "initdb did not start")
    kill(processes(fresh))
    user.communicate()
    until(lambda: not processes(fresh), "initdb outlived SIGKILL")
    assert not (fresh / "cluster" / "18").exists()
    assert said(start_user(fresh)) == "in"


def test_a_user_killed_with_the_lease_leaves_nothing_running(folder: Path) -> None:
    user = start_user(folder)
    assert user.stdout.readline() == "in\n"
    user.kill()
    user.communicate()
    require_nothing_left(folder)


def test_the_server_stays_for_those_who_are_left(folder: Path) -> None:
    first, second = start_user(folder), start_user(folder)
    assert first.stdout.readline() == second.stdout.readline() == "in\n"
    first.kill()
    first.communicate()
    assert rows(Cluster(folder)) == 1
    assert said(second) == ""


@pytest.mark.parametrize("victim", ["keeper", "server", "both"])
def test_what_was_committed_outlives_a_killed(victim: str, folder: Path) -> None:
    with Cluster(folder).lease() as cluster:
        with psycopg.connect(cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection:
            connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
            if victim != "server":
                kill(keepers(folder))
            if victim != "keeper":
                kill(processes(folder, "/postgres -D"))
            with pytest.raises(psycopg.OperationalError):
                until(lambda: connection.execute("SELECT 1") and False, "the connection stayed")
        cluster.ensure_running()
        assert rows(cluster) == 1001


def test_what_is_answered_is_on_disk(folder: Path) -> None:
    """The power may fail too: the embedded server waits for the disk, unlike the one that the other tests share."""
    with Cluster(folder).lease() as cluster, psycopg.connect(cluster.url(SUPERUSER, "postgres")) as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",), name


def test_an_immediate_stop_under_load_loses_no_commit(folder: Path) -> None:
    done = 1
    with Cluster(folder).lease() as cluster:
        for _ in range(3):
            with (
                contextlib.suppress(psycopg.OperationalError),
                psycopg.connect(cluster.url(SUPERUSER, "postgres"), autocommit=True) as connection,
            ):
                for number in itertools.count():
                    connection.execute("INSERT INTO kept VALUES (1)")
                    done += 1
                    if number == 20:
                        os.kill(cluster.server_pid(), signal.SIGQUIT)
            cluster.ensure_running()
            assert rows(cluster) >= done, "a commit that was answered is gone"


def test_start_and_stop_race_each_other(folder: Path) -> None:
    """Who takes the lease while the keeper stops the server must wait and then get a server of its own."""
    cluster = Cluster(folder)
    for number in range(15):
        with cluster.lease():
            assert rows(cluster) == 1
        if number % 3 == 0:
            until(lambda: not (cluster.files / "postmaster.pid").exists(), "the server did not stop")


def test_a_leftover_server_is_adopted_and_stopped(folder: Path) -> None:
    cluster = Cluster(folder)
    owner = cluster.home.stat()
    leftover = subprocess.Popen(
        [_binaries() / "postgres", "-D", cluster.files, "-c", f"unix_socket_directories={cluster.socket}"],
        cwd="/", env={}, stderr=subprocess.DEVNULL,
        **({"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}),
    )  # fmt: skip
    until(lambda: cluster.server_pid() == leftover.pid, "the leftover server did not start")
    with cluster.lease():
        assert cluster.server_pid() == leftover.pid and rows(cluster) == 1
    assert leftover.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("whose", ["ours", "the server user's", "everybody's", "no number"])
def test_a_stale_lock_file_with_another_pid_is_no_obstacle(whose: str, folder: Path) -> None:
    """After a reboot the number in postmaster.pid is any process's: not one to wait for, nor one to stop."""
    cluster = Cluster(folder)
    owner = cluster.home.stat()
    other = subprocess.Popen(
        ["/bin/sleep", str(PATIENCE_S)],
        **({"user": owner.st_uid} if whose == "the server user's" and os.geteuid() == 0 else {}),
    )
    number = {"everybody's": "-1", "no number": ""}.get(whose, str(other.pid))
    for lock in (cluster.files / "postmaster.pid", cluster.socket / ".s.PGSQL.5432.lock"):
        rest = f"\n{cluster.files}\n1\n5432\n{cluster.socket}\n\n  1 1\nready\n" if number else ""
        lock.write_text(f"{number}{rest}")
        os.chown(lock, owner.st_uid, owner.st_gid)
    assert cluster.server_pid() is None
    with cluster.lease():
        assert rows(cluster) == 1
    assert other.poll() is None, "another's process was stopped"
    other.kill()
    other.wait()


def test_a_server_that_cannot_start_is_reported_in_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_STARTS_MAX", 2)
    (folder / "cluster/18/postgresql.auto.conf").write_text("shared_buffers = nonsense\n")
    with pytest.raises(Unavailable, match=r"does not stay up; its log is in .*/log"), Cluster(folder).lease():
        pass
    assert "nonsense" in (folder / "cluster/18/log/start.log").read_text()


# --- surroundings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        {
            "PGPORT": "7777",
            "PGHOST": "/nowhere",
            "PGUSER": "x",
            "PGDATABASE": "x",
            "PGDATA": "/nowhere",
            "PGSSLMODE": "verify-full",
            "PGGSSENCMODE": "require",
            "PGREQUIREAUTH": "scram-sha-256",
            "PGCHANNELBINDING": "require",
            "PGTARGETSESSIONATTRS": "read-only",
            "PGHOSTADDR": "127.0.0.1",
            "PGOPTIONS": "-c default_transaction_read_only=on",
            "PGCLIENTENCODING": "latin1",
        },
        {"LD_PRELOAD": "/nowhere.so", "LC_ALL": "zh_CN.GB18030", "TZ": "Asia/Shanghai", "PYTHONOPTIMIZE": "2"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_the_environment_does_not_disturb(setting: dict[str, str], folder: Path) -> None:
    user = start_user(folder, "write", env=setting)
    assert user.stdout.readline() == "in\n"
    assert rows(Cluster(folder)) == 2
    user.communicate()


@pytest.mark.parametrize("umask", [0o000, 0o777], ids=oct)
def test_a_strange_umask_widens_and_narrows_nothing(umask: int, fresh: Path) -> None:
    assert said(start_user(fresh / "sub", umask=umask)) == "in"
    require_nothing_left(fresh / "sub")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (fresh / "sub").iterdir()}
    assert modes == {"cluster": 0o700, "socket": 0o700, "lease": 0o600, "start": 0o600, "keeper": 0o600}
    assert stat.S_IMODE((fresh / "sub").stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    assert stat.S_IMODE((fresh / "sub/cluster/18").stat().st_mode) == 0o700


def test_a_deleted_current_folder_does_not_disturb(folder: Path, tmp_path: Path) -> None:
    code = f"import os, sys; os.rmdir(os.getcwd()); sys.argv = ['', {str(folder)!r}, 'look']\n{USER}"
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=gone, env={"PYTHONPATH": str(PROJECT)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "in\n", done.stderr


def test_any_printable_path_will_do(fresh: Path) -> None:
    assert said(start_user(fresh / "a b'c\"d%20&e=#?\\溯源")) == "in"
    require_nothing_left(fresh / "a b'c\"d%20&e=#?\\溯源")


@pytest.mark.parametrize("name", ["a,b", "a\nb", "溯" * 28, "x" * 83], ids=["comma", "newline", "bytes", "characters"])
def test_a_path_that_no_socket_can_have_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured, match=r"SUYUAN_DATA"), Cluster(Path("/tmp") / name).lease():
        pass
    assert not (Path("/tmp") / name).exists()


def test_the_longest_path_that_is_allowed_works() -> None:
    """A limit that was one too large would make the server fail instead of the check."""
    room = 89 - len("/socket")
    data = Path(tempfile.mkdtemp(prefix="suyuan-" + "x" * (room - len(f"{tempfile.gettempdir()}/suyuan-") - 8)))
    assert len(str(data)) == room
    data.chmod(0o711)
    assert said(start_user(data)) == "in"
    require_nothing_left(data)
    shutil.rmtree(data)


@pytest.mark.parametrize("path", ["/proc/x", "/etc/passwd", "/etc/passwd/x"])
def test_a_folder_that_cannot_be_made_is_named(path: str) -> None:
    with pytest.raises(Misconfigured, match=path), Cluster(Path(path)).lease():
        pass


# --- who may do what ------------------------------------------------------------------------------


def test_only_peers_on_the_socket_are_let_in(cluster: Cluster) -> None:
    with psycopg.connect(cluster.url(SUPERUSER)) as connection:
        rules = connection.execute("SELECT type, auth_method FROM pg_hba_file_rules").fetchall()
        addresses = connection.execute("SHOW listen_addresses").fetchone()
    assert rules == [("local", "peer")] and addresses == ("",)
    sockets = {str(file.readlink()) for file in Path(f"/proc/{cluster.server_pid()}/fd").iterdir()}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            assert f"socket:[{fields[9]}]" not in sockets or fields[3] != "0A", "the server listens on a port"


def test_an_unknown_role_is_refused(cluster: Cluster) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"Peer authentication failed|does not exist"):
        psycopg.connect(cluster.url("somebody"))


@as_root
def test_other_users_reach_neither_socket_nor_locks(cluster: Cluster, ordinary: tuple[pwd.struct_passwd, str]) -> None:
    code = """
import socket, sys
for attempt in (lambda: open(sys.argv[1] + "/lease"), lambda: open(sys.argv[1] + "/start"),
                lambda: socket.socket(socket.AF_UNIX).connect(sys.argv[1] + "/socket/.s.PGSQL.5432")):
    try:
        attempt()
    except PermissionError:
        print("refused")
"""
    done = subprocess.run(
        [ordinary[1], "-c", code, str(cluster.data)], user="daemon", group="daemon", extra_groups=[], cwd="/",
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "refused\n" * 3, done.stderr


@as_root
def test_peer_authentication_refuses_another_user(cluster: Cluster, ordinary: tuple[pwd.struct_passwd, str]) -> None:
    """Should the socket's folder ever be opened to others, the server still knows who they are."""
    opened = [(path, stat.S_IMODE(path.stat().st_mode)) for path in (cluster.socket, *cluster.socket.glob(".s.*"))]
    try:
        for path, _ in opened:
            path.chmod(0o777)
        done = subprocess.run(
            [ordinary[1], "-c", f"import psycopg; psycopg.connect({cluster.url(APPLICATION)!r})"],
            user="daemon", group="daemon", extra_groups=[], cwd="/", env=_packages(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    finally:
        for path, mode in opened:
            path.chmod(mode)
    assert "Peer authentication failed" in done.stderr


@as_root
def test_an_ordinary_user_and_root_take_turns_in_its_folder(
    fresh: Path, ordinary: tuple[pwd.struct_passwd, str]
) -> None:
    """A lock file that root had made for itself would lock the folder's owner out."""
    own_folder(ordinary, fresh)
    assert said(start_user(fresh, "write")) == "in"
    assert said(start_ordinary(ordinary, fresh, "write")) == "in"
    both = [start_user(fresh), start_ordinary(ordinary, fresh)]
    assert [user.stdout.readline() for user in both] == ["in\n"] * 2
    assert rows(Cluster(fresh)) == 2
    for user in both:
        user.communicate()
    require_nothing_left(fresh)  # files come and go while the server runs
    assert {path.stat().st_uid for path in (fresh, *fresh.rglob("*"))} == {ordinary[0].pw_uid}


@as_root
def test_an_ordinary_user_makes_a_folder_of_its_own(fresh: Path, ordinary: tuple[pwd.struct_passwd, str]) -> None:
    own_folder(ordinary, fresh)
    assert said(start_ordinary(ordinary, fresh / "deep/er")) == "in"
    require_nothing_left(fresh / "deep/er")
    assert all(not stat.S_IMODE(path.stat().st_mode) & 0o077 for path in fresh.rglob("*"))


@as_root
def test_a_folder_of_another_user_is_refused(folder: Path, ordinary: tuple[pwd.struct_passwd, str]) -> None:
    for mode in (0o711, 0o700):
        folder.chmod(mode)
        answer = said(start_ordinary(ordinary, folder))
        assert answer.startswith(f"Misconfigured {folder} belongs to the user root; run as that user"), answer
    assert said(start_ordinary(ordinary, folder / "sub")).startswith("Misconfigured the data folder")


@as_root
def test_a_user_id_without_a_name_is_refused(fresh: Path, ordinary: tuple[pwd.struct_passwd, str]) -> None:
    fresh.mkdir()
    os.chown(fresh, 54321, 54321)
    user = start_user(fresh, "look", ordinary[1], env=_packages(), user=54321, group=54321, extra_groups=[], cwd="/")
    assert said(user) == "Misconfigured the user id 54321 has no name on this machine, which PostgreSQL needs"


@as_root
def test_root_is_told_which_folder_the_server_may_not_enter(fresh: Path) -> None:
    fresh.mkdir(mode=0o700)
    told = rf"runs as the user \w+, who may not enter {fresh}; "
    with pytest.raises(Misconfigured, match=told), Cluster(fresh / "data").lease():
        pass


@as_root
def test_root_follows_no_link_that_others_have_set(
    folder: Path, tmp_path: Path, ordinary: tuple[pwd.struct_passwd, str]
) -> None:
    """Whoever takes over the server's user would be root, if root wrote where that user can put a link."""
    treasure = tmp_path / "treasure"
    treasure.mkdir(mode=0o700)
    (treasure / "start.log").write_text("root's own")
    log = folder / "cluster/18/log"
    shutil.rmtree(log)
    log.symlink_to(treasure)
    with pytest.raises(Unavailable, match="Permission denied"), Cluster(folder).lease():
        pass
    assert treasure.stat().st_uid == 0 and (treasure / "start.log").read_text() == "root's own"
    (folder / "lease").unlink()
    (folder / "lease").symlink_to(treasure / "made")
    with pytest.raises(Misconfigured, match="lease"), Cluster(folder).lease():
        pass
    assert not (treasure / "made").exists()
    log.unlink()


@as_root
def test_binaries_out_of_the_server_users_reach_are_copied(folder: Path) -> None:
    """A virtual environment below /root is the usual case."""
    package = _binaries().parents[1]
    packages = folder.with_name(f"{folder.name}-packages")
    packages.mkdir(mode=0o700)
    (packages / package.name).mkdir()
    (packages / package.name / "__init__.py").touch()
    for source in (package / "pginstall18", package.with_name(f"{package.name}.libs")):
        shutil.copytree(source, packages / source.relative_to(package.parent), symlinks=True)
    install = packages / package.name / "pginstall18"
    for path in (install, *install.rglob("*")):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)  # as pip leaves them under umask 077
    os.utime(install)
    copy = Path("/var/lib/suyuan-postgresql") / f"{install.stat().st_mtime_ns:x}"
    try:
        user = start_user(folder, env={"PYTHONPATH": f"{packages}:{PROJECT}"}, umask=0o077)
        assert user.stdout.readline() == "in\n", said(user)
        (server,) = processes(folder, "/postgres -D").values()
        assert server.startswith(str(copy))
        user.communicate()
        require_nothing_left(folder)
    finally:
        shutil.rmtree(packages)
        shutil.rmtree(copy, ignore_errors=True)
        with contextlib.suppress(OSError):
            copy.parent.rmdir()
