"""Several processes that make one run: how they meet, or say why not."""

import socket
import threading
import time

import pytest
from command_line import RUN, command

pytestmark = pytest.mark.exhaustive


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def member(port, number, of, out, *more):
    place = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(of)]
    return command(
        *RUN[:4], "--seeds", "1", "--updates-per-task", "2", *place, "--process-id", str(number),
        "--out", str(out), *more,
    )  # fmt: skip


def test_a_partner_that_never_comes_is_named(tmp_path):
    process = member(free_port(), 0, 3, tmp_path, "--timeout", "1")
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "processes [1, 2] of 3 have not arrived after 1 s" in " ".join(told.split())
    assert "stack trace" not in told


@pytest.mark.parametrize("numbers_given", [(0, 0), (0, 1, 1)])
def test_a_number_that_two_processes_have_is_named(tmp_path, numbers_given):
    port, of = free_port(), max(2, len(numbers_given))
    processes = [member(port, k, of, tmp_path, "--timeout", "20") for k in numbers_given]
    told = [" ".join(process.communicate(timeout=180)[1].split()) for process in processes]
    assert all(process.returncode == 2 for process in processes), told
    assert not any("stack trace" in each for each in told)
    assert any("two processes have --process-id 1" in each or "is taken" in each for each in told)


def test_strangers_at_the_door_are_ignored(tmp_path):
    from gainjax.cli.meeting import meet

    port, errors = free_port(), []

    def first():
        try:
            meet("127.0.0.1", port, 2, 0, 30)
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n")
            break
        except OSError:
            time.sleep(0.05)
    meet("127.0.0.1", port, 2, 1, 30)
    thread.join(30)
    assert not errors


def test_processes_with_different_grids_do_not_mix(tmp_path):
    port = free_port()
    processes = []
    for number, grid in enumerate((".1,.2", ".1,.3")):
        place = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2"]
        processes.append(
            command(
                "sweep",
                "split-digits",
                "--methods",
                "sgd",
                "--seeds",
                "1",
                "--grid",
                f"learning_rate={grid}",
                "--updates-per-task",
                "2",
                *place,
                "--process-id",
                str(number),
                "--out",
                str(tmp_path / "out"),
                "--timeout",
                "60",
            )
        )
    told = [process.communicate(timeout=180)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], told
    assert any("differs from that of process 0" in " ".join(each.split()) for each in told)
    assert not (tmp_path / "out" / "curves.nc").exists()
