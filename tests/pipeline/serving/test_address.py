"""Where a server listens: alone on this machine, or with a token."""

import socket

import pytest

from cache.errors import UsageError
from pipeline.labels.review_server import bind
from pipeline.serving.address import open_address


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_on_this_machine_no_token_is_needed_but_one_that_is_given_counts(host):
    address = open_address(host, 0, None)
    assert (address.token, address.is_token_new) == (None, False)
    assert {host, "localhost", "127.0.0.1", "::1"} <= address.hosts
    assert address.url == f"http://{host}:{address.listener.getsockname()[1]}/"
    address.listener.close()
    address = open_address(host, 0, "given")
    assert (address.token, address.is_token_new) == ("given", False)
    address.listener.close()


def test_where_other_machines_come_in_there_is_always_a_token():
    first, second, given = (open_address("0.0.0.0", 0, token) for token in (None, None, "given"))
    assert first.is_token_new
    assert len(first.token) >= 32
    assert first.token != second.token
    assert (given.token, given.is_token_new) == ("given", False)
    assert first.hosts == frozenset()
    for address in (first, second, given):
        address.listener.close()


def test_an_address_that_cannot_be_had_is_an_error_that_says_why():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port {port} of 127\.0\.0\.1 is in use; choose another with --port"):
            open_address("127.0.0.1", port, None)
    with pytest.raises(UsageError, match=r"--host 192\.0\.2\.1: "):  # no address of any machine
        open_address("192.0.2.1", 0, None)


@pytest.mark.parametrize("listen", [lambda: open_address("127.0.0.1", 0, None).listener, lambda: bind(0)])
def test_an_answer_does_not_wait_for_the_client_to_confirm_its_head(listen):
    with listen() as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
