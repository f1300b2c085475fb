"""Shortens a text to its most important sentences."""

from typing import Final

from textrank import summarize

import orchestrator

EXAMPLE: Final = """\
The lighthouse of Stonehaven Point will be lit again this winter, twenty years after its lamp went out. \
Dr. Ada Novak, who grew up beside it, collected 1.2 million euros to repair the lamp and the tower. \
Storms had broken most of the windows, and gulls were nesting on the stairs. \
Volunteers spent three summers carrying new glass up the 214 steps of the tower. \
The old lamp needed 40 kg of coal a night; the new lamp needs less power than a kettle. \
Ships no longer depend on it, since every captain carries a satellite receiver. \
"Receivers fail, but a lighthouse does not," says Novak. \
The village hopes that visitors will come to see the lamp of the lighthouse shine. \
Tickets for the first night were gone within an hour."""


@orchestrator.service(name="Summarization", resources={"cpu": "1"}, traffic={"timeout": 10})
class Summarization:
    """Summarises texts in their own words."""

    @orchestrator.api
    def summarize(self, text: str = EXAMPLE) -> str:
        """About a third of the text's sentences, one to five, in their original order."""
        return summarize(text)
