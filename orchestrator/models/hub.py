"""Hugging Face's hub, through its own library and its own cache."""

from collections.abc import Sequence

from orchestrator.errors import StoreError

__all__ = ["fetch_snapshot"]


def fetch_snapshot(
    model_id: str,
    *,
    revision: str,
    endpoint: str | None,
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
) -> str:
    """The folder with a model's files, fetched where they are not in the cache.

    Raises:
        StoreError: the hub does not have it or cannot be reached, or huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError as error:
        raise StoreError(
            f"{model_id}: huggingface_hub is not installed", hint="pip install 'triton-orchestrator[hub]'"
        ) from error
    try:
        return snapshot_download(
            model_id,
            revision=revision,
            endpoint=endpoint,
            allow_patterns=None if include is None else [*include],
            ignore_patterns=None if exclude is None else [*exclude],
        )
    except GatedRepoError as error:
        hint = "ask for access on its page, and set HF_TOKEN"
        raise StoreError(f"{model_id} is behind a gate", hint=hint) from error
    except RevisionNotFoundError as error:
        raise StoreError(f"{model_id} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise StoreError(f"there is no model {model_id!r} on the hub", hint="a private one needs HF_TOKEN") from error
    except LocalEntryNotFoundError as error:
        raise StoreError(
            f"{model_id} at {revision!r} is not in the cache, and the hub is not to be reached",
            hint="fetch it where there is a network, or point HF_HOME at a cache that has it",
        ) from error
    except (HFValidationError, HfHubHTTPError, OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise StoreError(f"{model_id} cannot be fetched: {reason}") from error
