"""A meeting point for manually started processes, before JAX's distributed runtime starts.

If one is missing or two have the same number, JAX aborts with a stack dump after minutes. Here the
error names them, in time. The first process listens at the coordinator's address, which JAX takes
over afterward.
"""

import contextlib
import socket
import time

_RETRY = 0.2  # seconds
_LONGEST = 1000  # bytes of a message


def meet(host: str, port: int, processes: int, process_id: int, timeout: float) -> None:
    """Return once all processes have arrived.

    Args:
        host: Host of the first process.
        port: Port there.
        processes: Expected number of processes.
        process_id: Number of this process, from 0.
        timeout: Seconds to wait.

    Raises:
        ValueError: If some do not arrive, or two have the same number.
    """
    deadline = time.monotonic() + timeout
    if process_id == 0:
        _wait_for_others(port, processes, timeout, deadline)
    else:
        _report_to_first(f"{host}:{port}", (host, port), processes, process_id, timeout, deadline)


def _wait_for_others(port: int, processes: int, timeout: float, deadline: float) -> None:
    came: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(socket.create_server(("", port)))
        except OSError as error:
            raise ValueError(
                f"port {port} of --coordinator is taken: is there another process with "
                f"--process-id 0? {error}"
            ) from error
        while len(came) < processes - 1:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                absent = [k for k in range(1, processes) if k not in came]
                raise ValueError(
                    f"processes {absent} of {processes} have not arrived after {timeout:g} s "
                    "(--timeout): start them with the same --coordinator and --processes"
                ) from None
            stack.enter_context(connection)
            message = _received(connection, min(deadline, time.monotonic() + 5))
            reason = _objection(message, processes, came)
            if reason is None:
                came[int(message.split()[1])] = connection
            elif reason:
                for each in (*came.values(), connection):
                    _tell(each, reason)
                raise ValueError(reason)
        for connection in came.values():
            _tell(connection, "ok")


def _objection(message: str, processes: int, came: dict[int, socket.socket]) -> str | None:
    """Return the problem with a process that reports; "" if it is not one of ours."""
    words = message.split()
    if len(words) != 3 or words[0] != "gainjax" or not all(x.isdigit() for x in words[1:]):
        return ""
    number, of = map(int, words[1:])
    if of != processes:
        return f"--processes is {processes} for one process and {of} for another"
    if number >= of:
        return ""
    if number in came or number == 0:
        return f"two processes have --process-id {number}: give each a different number"
    return None


def _report_to_first(
    name: str,
    address: tuple[str, int],
    processes: int,
    process_id: int,
    timeout: float,
    deadline: float,
) -> None:
    while True:
        try:
            with socket.create_connection(address, timeout=5) as connection:
                _tell(connection, f"gainjax {process_id} {processes}")
                answer = _received(connection, deadline)
        except OSError:
            answer = ""
        if answer == "ok":
            return
        if answer:
            raise ValueError(answer)
        if time.monotonic() > deadline:
            raise ValueError(
                f"no answer from {name} after {timeout:g} s (--timeout): start the process with "
                "--process-id 0 there, and all the others"
            )
        time.sleep(_RETRY)


def _tell(connection: socket.socket, message: str) -> None:
    with contextlib.suppress(OSError):  # a closed connection needs no answer
        connection.sendall(f"{message}\n".encode())


def _received(connection: socket.socket, deadline: float) -> str:
    """Return a line, or "" if none comes."""
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < _LONGEST:
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            if not (part := connection.recv(_LONGEST)):
                return ""
            line += part
    except OSError:
        return ""
    return line.decode(errors="replace").strip()
