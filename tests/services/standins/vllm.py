"""Stands in for vLLM where there is no GPU: it answers with the words of the prompt, one after the other."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

__all__ = ["AsyncEngineArgs", "AsyncLLMEngine", "SamplingParams"]


@dataclass
class SamplingParams:
    max_tokens: int


@dataclass
class AsyncEngineArgs:
    model: str


@dataclass
class Completion:
    text: str


@dataclass
class RequestOutput:
    outputs: list[Completion]


class AsyncLLMEngine:
    """The two methods that the tests need."""

    @classmethod
    def from_engine_args(cls, args: AsyncEngineArgs) -> Self:
        assert args.model
        return cls()

    async def add_request(
        self, request_id: int, prompt: str, params: SamplingParams, prompt_token_ids: list[int] | None = None
    ) -> AsyncIterator[RequestOutput]:
        words = [f"#{request_id}", *prompt.split(), *map(str, prompt_token_ids or ())]

        async def stream() -> AsyncIterator[RequestOutput]:
            for word in words[: params.max_tokens]:
                await asyncio.sleep(0)
                yield RequestOutput([Completion(f"{word} ")])

        return stream()
