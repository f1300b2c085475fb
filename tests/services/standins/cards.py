"""Stand in for the three services that the example about greeting cards depends on and does not show."""

from pathlib import Path

from PIL import Image

import orchestrator

__all__ = ["SDXLTurboService", "StableLMService", "XTTSService"]


@orchestrator.service
class StableLMService:
    @orchestrator.api
    async def enhance_message(self, message: str) -> str:
        return f"{message} And all the best."


@orchestrator.service
class SDXLTurboService:
    @orchestrator.api
    def txt2img(self, prompt: str) -> Image.Image:
        return Image.new("RGB", (len(prompt), 1), "red")


@orchestrator.service
class XTTSService:
    @orchestrator.api
    def synthesize(self, context: orchestrator.Context, text: str) -> Path:
        path = Path(context.temp_dir) / "speech.wav"
        path.write_text(text)
        return path
