import asyncio
import os
import subprocess
from pathlib import Path
from typing import Annotated

import bentoml
from cards import SDXLTurboService, StableLMService, XTTSService


@bentoml.service(
    traffic={"timeout": 600},
    workers=4,
    resources={
        "memory": "4Gi"
    },
)
class GreetingCardService:
    # Services StableLMService, SDXLTurboService, and XTTSService are previously defined
    # Retrieve these Services using `bentoml.depends` so that their methods can be called directly
    stablelm = bentoml.depends(StableLMService)
    sdxl = bentoml.depends(SDXLTurboService)
    xtts = bentoml.depends(XTTSService)

    @bentoml.api
    async def generate_card(
        self,
        context: bentoml.Context,
        message: str = "Happy new year!",
    ) -> Annotated[Path, bentoml.validators.ContentType("video/*")]:
        greeting_message = await self.stablelm.enhance_message(message)

        sdxl_prompt_tmpl = "a happy and heart-warming greeting card based on greeting message {message}"
        sdxl_prompt = sdxl_prompt_tmpl.format(message=greeting_message)

        # Run `txt2img` and `synthesize` operations in parallel
        audio_path, image = await asyncio.gather(
            self.xtts.to_async.synthesize(greeting_message),
            self.sdxl.to_async.txt2img(sdxl_prompt)
        )
        image_path = os.path.join(context.temp_dir, "output.png")
        image.save(image_path)

        cmd = ["ffmpeg", "-loop", "1", "-i", str(image_path), "-i", str(audio_path), "-shortest"]
        output_path = os.path.join(context.temp_dir, "output.mp4")
        cmd.append(output_path)
        subprocess.run(cmd)
        return Path(output_path)
