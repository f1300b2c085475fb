"""gRPC channels to a Triton, made for a server on the same machine."""

from typing import Any

import grpc

__all__ = ["open_channel"]

_OPTIONS = (
    # Body limits are the front-end's to set; a second, hidden one here would only surprise.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # an http_proxy in the environment is not for a loopback address
    # A retried inference may run twice: whether to try again is the caller's decision.
    ("grpc.enable_retries", 0),
    # A restarted server is found again within a second, not after gRPC's two minutes of backoff.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),  # also the time that one attempt may take: a busy machine needs it
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own: closing one channel leaves the others alone
)


def open_channel(grpc_url: str) -> Any:
    """A `grpc.aio.Channel` for the running event loop, without encryption.

    Args:
        grpc_url: `host:port`. It connects on the first call.
    """
    return grpc.aio.insecure_channel(grpc_url, options=_OPTIONS)
